// See python.h.

#include "python.h"

#include <chrono>
#include <cstring>
#include <memory>
#include <new>
#include <stdexcept>
#include <thread>

namespace rwkv::python {
namespace {

// A reference that is given back at the end.
struct Owned {
  PyObject *object;

  explicit Owned(PyObject *given) : object(given) {
    if (object == nullptr) throw Raised{};
  }
  Owned(const Owned &) = delete;
  ~Owned() { Py_DecRef(object); }

  PyObject *release() { return std::exchange(object, nullptr); }
};

[[noreturn]] void raise_type(const Arguments &arguments, const char *expected) {
  PyErr_Format(PyExc_TypeError, "argument %zd must be %s", arguments.place(), expected);
  throw Raised{};
}

Dtype dtype_of(const char *format, Py_ssize_t item_size) {
  if (format == nullptr) return Dtype::kOther;
  if (*format == '@' || *format == '=') ++format;
  if (std::strlen(format) != 1) return Dtype::kOther;
  switch (*format) {
    case 'f': return item_size == 4 ? Dtype::kFloat : Dtype::kOther;
    case 'd': return item_size == 8 ? Dtype::kDouble : Dtype::kOther;
    case 'l': case 'q': return item_size == 8 ? Dtype::kInt64 : Dtype::kOther;
    case '?': return item_size == 1 ? Dtype::kBool : Dtype::kOther;
    default: return Dtype::kOther;
  }
}

// A list or a tuple; other sequences such as strings are not meant.
Py_ssize_t length_of(const Arguments &arguments, PyObject *sequence, const char *expected) {
  if (!PyList_Check(sequence) && !PyTuple_Check(sequence)) raise_type(arguments, expected);
  return PySequence_Size(sequence);
}

// work(item) for every item.
template <typename Work>
void each_item(const Arguments &arguments, PyObject *sequence, const char *expected, const Work &work) {
  const Py_ssize_t length = length_of(arguments, sequence, expected);
  for (Py_ssize_t i = 0; i < length; ++i) {
    const Owned item(PySequence_GetItem(sequence, i));
    work(item.object);
  }
}

int64_t integer(const Arguments &arguments, PyObject *object) {
  if (!PyLong_Check(object)) raise_type(arguments, "an int");
  const long long value = PyLong_AsLongLong(object);
  if (value == -1 && PyErr_Occurred() != nullptr) throw Raised{};
  return value;
}

// What a call returns: an array that Python reads by the buffer protocol.
struct Result {
  PyObject ob_base;
  Array *array;
  std::vector<Py_ssize_t> *layout;  // shape, then strides
};

PyTypeObject *result_type = nullptr;

int get_buffer(PyObject *self, Py_buffer *view, int flags) {
  auto *result = reinterpret_cast<Result *>(self);
  const char *formats[] = {"f", "d", "q", "?", "B"};
  view->buf = result->array->write<void>();
  view->obj = self;
  Py_IncRef(self);
  view->len = result->array->bytes();
  view->itemsize = item_size(result->array->dtype());
  view->readonly = 0;
  view->ndim = int(result->array->dimensions());
  view->format = (flags & PyBUF_FORMAT) != 0 ? const_cast<char *>(formats[int(result->array->dtype())]) : nullptr;
  view->shape = (flags & PyBUF_ND) != 0 ? result->layout->data() : nullptr;
  view->strides = (flags & PyBUF_STRIDES) == PyBUF_STRIDES ? result->layout->data() + view->ndim : nullptr;
  view->suboffsets = nullptr;
  view->internal = nullptr;
  return 0;
}

void free_result(PyObject *self) {
  auto *result = reinterpret_cast<Result *>(self);
  delete result->array;
  delete result->layout;
  PyTypeObject *type = Py_TYPE(self);
  PyObject_Free(self);
  Py_DecRef(reinterpret_cast<PyObject *>(type));
}

std::vector<Py_ssize_t> layout_of(const Array &array) {
  std::vector<Py_ssize_t> layout(array.shape().begin(), array.shape().end());
  Py_ssize_t stride = item_size(array.dtype());
  std::vector<Py_ssize_t> strides(layout.size());
  for (size_t i = layout.size(); i-- > 0; stride *= layout[i]) strides[i] = stride;
  layout.insert(layout.end(), strides.begin(), strides.end());
  return layout;
}

}  // namespace

Released::~Released() {
  try {
    PyEval_RestoreThread(state_);
  } catch (...) {
    // At its exit Python before 3.14 ends other threads here by unwinding their stacks, which would end the process.
    for (;;) std::this_thread::sleep_for(std::chrono::hours(1));
  }
}

Arguments::~Arguments() {
  for (Py_buffer &buffer : held_) PyBuffer_Release(&buffer);
}

void Arguments::check_count(Py_ssize_t expected) const {
  if (count_ == expected) return;
  PyErr_Format(PyExc_TypeError, "%zd arguments expected, got %zd", expected, count_);
  throw Raised{};
}

Array Arguments::hold(PyObject *object) {
  if (!PyObject_CheckBuffer(object)) raise_type(*this, "an array");
  Py_buffer &view = held_.emplace_back();
  if (PyObject_GetBuffer(object, &view, PyBUF_STRIDES | PyBUF_FORMAT) != 0) {
    held_.pop_back();
    throw Raised{};
  }
  if (size_t(view.ndim) > kMostDimensions) raise_type(*this, "an array of at most 8 dimensions");
  const Dtype dtype = dtype_of(view.format, view.itemsize);
  if (reinterpret_cast<uintptr_t>(view.buf) % size_t(item_size(dtype)) != 0) raise_type(*this, "an aligned array");
  return Array(view.buf, dtype, Shape(view.shape, view.shape + view.ndim), PyBuffer_IsContiguous(&view, 'C') != 0);
}

void convert(Arguments &arguments, Array &to) { to = arguments.hold(arguments.next()); }

void convert(Arguments &arguments, OptionalArray &to) {
  PyObject *object = arguments.next();
  if (object != Py_None) to = arguments.hold(object);
}

void convert(Arguments &arguments, std::vector<Array> &to) {
  each_item(arguments, arguments.next(), "a list of arrays", [&](PyObject *item) { to.push_back(arguments.hold(item)); });
}

void convert(Arguments &arguments, std::vector<OptionalArray> &to) {
  each_item(arguments, arguments.next(), "a list of arrays and None", [&](PyObject *item) {
    to.push_back(item == Py_None ? OptionalArray() : OptionalArray(arguments.hold(item)));
  });
}

void convert(Arguments &arguments, std::vector<int64_t> &to) {
  each_item(arguments, arguments.next(), "a list of ints", [&](PyObject *item) { to.push_back(integer(arguments, item)); });
}

void convert(Arguments &arguments, int64_t &to) { to = integer(arguments, arguments.next()); }

void convert(Arguments &arguments, double &to) {
  to = PyFloat_AsDouble(arguments.next());
  if (to == -1 && PyErr_Occurred() != nullptr) throw Raised{};
}

void convert(Arguments &arguments, bool &to) {
  PyObject *object = arguments.next();
  if (!PyBool_Check(object)) raise_type(arguments, "True or False");
  to = object == Py_True;
}

PyObject *to_python(Array array) {
  auto layout = std::make_unique<std::vector<Py_ssize_t>>(layout_of(array));
  auto own = std::make_unique<Array>(std::move(array));
  auto *result = PyObject_New(Result, result_type);
  if (result == nullptr) throw Raised{};
  result->layout = layout.release();
  result->array = own.release();
  return reinterpret_cast<PyObject *>(result);
}

PyObject *to_python(std::vector<Array> arrays) {
  Owned list(PyList_New(Py_ssize_t(arrays.size())));
  for (size_t i = 0; i < arrays.size(); ++i) PyList_SetItem(list.object, Py_ssize_t(i), to_python(std::move(arrays[i])));
  return list.release();
}

bool add_result_type() {
  static PyType_Slot slots[] = {{Py_tp_dealloc, reinterpret_cast<void *>(free_result)},
                                {Py_bf_getbuffer, reinterpret_cast<void *>(get_buffer)},
                                {0, nullptr}};
  static PyType_Spec spec = {"rwkv._native.Result", sizeof(Result), 0,
                             Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, slots};
  result_type = reinterpret_cast<PyTypeObject *>(PyType_FromSpec(&spec));
  return result_type != nullptr;
}

PyObject *raise_current() {
  try {
    throw;
  } catch (const Raised &) {
  } catch (const std::bad_alloc &) {
    PyErr_NoMemory();
  } catch (const std::exception &error) {
    PyErr_SetString(PyExc_RuntimeError, error.what());
  } catch (...) {
    PyErr_SetString(PyExc_RuntimeError, "the native kernels failed");
  }
  return nullptr;
}

}  // namespace rwkv::python
