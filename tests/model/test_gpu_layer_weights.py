"""A layer's weights in the form of the GPU kernels; test_gpu_layer.py tests the kernels themselves."""

import torch

from rwkv.model.gpu_layer import time_weights
from tests.networks import small_network


def test_weights_learn_also_after_an_evaluation() -> None:
    """Training and evaluation may share a process, in either order."""
    mixer = small_network().streams[0].layers[0].time_mixer.requires_grad_()
    with torch.inference_mode():
        time_weights(mixer, first=True)
    time_weights(mixer, first=True).projections.sum().backward()
    assert mixer.rkvdag_lerp.grad is not None


def test_projections_are_the_maps_of_interpolations() -> None:
    """[W | W lerp] of [x | s - x] is W (x + lerp (s - x))."""
    mixer = small_network().streams[0].layers[0].time_mixer
    channels = mixer.W_r.in_features
    x, s = torch.randn(2, 5, channels, generator=torch.Generator().manual_seed(1))
    lerps = mixer.rkvdag_lerp.view(8, -1)
    maps = [mixer.W_r, mixer.W_k, mixer.W_v, mixer.d_lora_mlp.A, mixer.a_lora_simple.A, mixer.lora_A_g]
    scales = [mixer.k_scale_linear, mixer.v_scale_linear]
    for first, mixed_values in ((True, []), (False, [(mixer.v_lora_simple.A, 2)])):
        pairs = [(linear, number) for number, linear in enumerate(maps)] + mixed_values
        pairs += [(linear, number) for number, linear in enumerate(scales, 6)]
        expected = torch.cat([(x + lerps[number] * (s - x)) @ linear.weight.T for linear, number in pairs], 1)
        ours = torch.cat([x, s - x], 1) @ time_weights(mixer, first).projections.T
        torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-6)  # float32, added in another order
