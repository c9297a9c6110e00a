"""Files of tensors are read without PyTorch as PyTorch reads them, and nothing in them is run."""

import io
import json
import pickle
import zipfile

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rwkv.model import safetensors_file
from rwkv.model.stored_weights import Storage, StoredWeight
from rwkv.model.torch_file import ForeignContent, read_archive, read_older_form

DTYPES = st.sampled_from([torch.float32, torch.float64, torch.float16, torch.bfloat16])


@st.composite
def tensors(draw: st.DrawFn) -> torch.Tensor:
    """Dense tensors of up to three dimensions: whole ones, and views with other strides, perhaps of one number."""
    shape = draw(st.lists(st.integers(0, 4), max_size=3))
    rng = torch.Generator().manual_seed(draw(st.integers(0, 100)))
    tensor = torch.randn(shape, generator=rng).to(draw(DTYPES))
    view = draw(st.sampled_from(["whole", "transposed", "part", "expanded"]))
    if view == "transposed":
        return tensor.movedim(-1, 0) if shape else tensor
    if view == "part":
        return tensor[1:, ...] if shape and shape[0] else tensor
    return tensor[None].expand(2, *shape) if view == "expanded" else tensor


def saved(content: object, is_archive: bool = True) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=is_archive)
    return buffer.getvalue()


def assert_same(ours: object, expected: dict[str, torch.Tensor]) -> None:
    assert isinstance(ours, dict)
    assert list(ours) == list(expected)
    for name, tensor in expected.items():
        values = ours[name].values()
        assert values.dtype == np.float32
        np.testing.assert_array_equal(values, tensor.float().numpy())
        assert ours[name].kind == str(tensor.dtype).removeprefix("torch.")


@settings(deadline=None)
@given(st.dictionaries(st.text(max_size=5), tensors(), max_size=4))
def test_tensors_are_read_as_torch_reads_them(content: dict[str, torch.Tensor]) -> None:
    assert_same(read_archive(saved(content)), content)
    assert_same(read_older_form(saved(content, is_archive=False)), content)
    dense = {name: tensor.contiguous().clone() for name, tensor in content.items()}
    if "__metadata__" not in dense:
        ours = safetensors_file.read_tensors(safetensors.torch.save(dense))
        assert_same({name: ours[name] for name in dense}, dense)


def test_tensors_that_share_their_numbers() -> None:
    whole = torch.arange(6.0).reshape(2, 3)
    assert_same(read_archive(saved({"a": whole, "b": whole[1]})), {"a": whole, "b": whole[1]})


def test_other_orders_of_bytes() -> None:
    """As written by a machine whose most significant byte comes first."""
    numbers = torch.arange(6.0)
    changed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(saved({"a": numbers}))) as archive, zipfile.ZipFile(changed, "w") as copy:
        for record in archive.namelist():
            data = archive.read(record)
            if record.endswith("byteorder"):
                data = b"big"
            elif record.endswith("data/0"):
                data = np.frombuffer(data, "<f4").astype(">f4").tobytes()
            copy.writestr(record, data)
    assert_same(read_archive(changed.getvalue()), {"a": numbers})


def test_numbers_outside_of_the_storage_are_refused() -> None:
    storage = Storage("float32", 4, bytes(16))
    assert StoredWeight("float32", (2, 2), storage, 0, (2, 1)).values().tolist() == [[0, 0], [0, 0]]
    for shape, start, strides in (((2, 3), 0, (2, 1)), ((2,), 3, (1,)), ((2,), 1, (-1,)), ((2,), -1, (1,))):
        with pytest.raises(ValueError, match="outside"):
            StoredWeight("float32", shape, storage, start, strides).values()
    with pytest.raises(ValueError, match="smaller"):
        StoredWeight("float32", (4,), Storage("float32", 4, bytes(15)), 0, (1,)).values()


# --- Pickles


def archive_of(program: bytes) -> bytes:
    """A file whose content is built by a pickle."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", program)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "program",
    [
        b"\x80\x02cos\nsystem\nX\x02\x00\x00\x00ls\x85R.",  # names a function of another module
        b"\x80\x02ctorch\nload\nX\x01\x00\x00\x00a\x85R.",  # calls one of torch
        b"\x80\x02ctorch.storage\n_load_from_bytes\nX\x01\x00\x00\x00a\x85R.",
        b"\x80\x02cbuiltins\neval\n.",
        b"\x80\x02ctorch._utils\n__builtins__\n.",
        b"(X\x02\x00\x00\x00lsios\nsystem\n.",  # names and calls at once
        b"\x80\x02}X\x01\x00\x00\x00aR.",  # calls a dictionary
        pickle.dumps({"a": {1, 2}}),
        pickle.dumps({"a": bytearray(3)}, protocol=5),
    ],
)
def test_what_is_no_tensor_is_refused(program: bytes) -> None:
    with pytest.raises(ForeignContent):
        read_archive(archive_of(program))


# A tuple of twice the same, sixty times over: its hash and its string would take forever.
NESTED = b")" + b"q\x00h\x00\x86" * 60


@pytest.mark.parametrize(
    "program",
    [
        b"\x80\x02}" + NESTED + b"Ns.",
        b"\x80\x02ccollections\nOrderedDict\n]" + NESTED + b"N\x86a\x85R.",
        b"\x80\x02ctorch.serialization\n_get_layout\n" + NESTED + b"\x85R.",
        b"\x80\x02" + NESTED + b")R.",
        b"\x80\x02]X\x01\x00\x00\x00aK\x01s.",  # puts an entry into a list
        b"\x80\x02h\x05.",  # takes what was never kept
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(NNNNNNtR.",
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\nNR.",
        b"\x80\x02X\x03\x00\x00\x00abcQ.",
        b"\x80\x02.",
        b"\x80\x02}",
    ],
)
def test_programs_that_make_no_sense_are_refused(program: bytes) -> None:
    with pytest.raises((TypeError, ValueError, LookupError, ForeignContent)):
        read_archive(archive_of(program))


def test_a_place_far_away_takes_no_memory() -> None:
    assert read_archive(archive_of(b"\x80\x02}r\xff\xff\xff\x7f.")) == {}


# --- .safetensors


def written(header: object, numbers: bytes = bytes(8)) -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + numbers


def entry(begin: int, stop: int, shape: object = (2,), dtype: str = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, stop]}


@pytest.mark.parametrize(
    "header",
    [
        {"a": entry(0, 4)},
        {"a": entry(0, 8), "b": entry(0, 8)},
        {"a": entry(4, 8, (1,))},
        {"a": entry(0, 4, (1,))},
        {"a": entry(0, 8, (-1, -2))},
        {"a": entry(0, 8, (2.0,))},
        {"a": entry(0, 8, (True, 2))},
        {"a": entry(0, 8, 2)},
        {"a": entry(0, 8, dtype="F33")},
        {"a": entry(0, 8) | {"data_offsets": [0]}},
        {"a": None},
        {},
        [],
    ],
)
def test_headers_that_do_not_fit_the_numbers_are_refused(header: object) -> None:
    read = safetensors_file.read_tensors(written({"a": entry(0, 8), "__metadata__": {"b": "c"}}))
    assert read["a"].values().tolist() == [0, 0]
    with pytest.raises((ValueError, TypeError, LookupError, AttributeError)):
        safetensors_file.read_tensors(written(header))
