// The Python module rwkv._native.

#include "operators.h"
#include "python.h"

using rwkv::python::entry;

PyMODINIT_FUNC PyInit__native(void) {
  static PyMethodDef functions[] = {
      entry<rwkv::channel_mix_backward>("channel_mix_backward"),
      entry<rwkv::channel_mix_forward>("channel_mix_forward"),
      entry<rwkv::curve_recall>("curve_recall"),
      entry<rwkv::hash_dropout>("hash_dropout"),
      entry<rwkv::network_rows>("network_rows"),
      entry<rwkv::network_step>("network_step"),
      entry<rwkv::pack_network>("pack_network"),
      entry<rwkv::time_mix_backward>("time_mix_backward"),
      entry<rwkv::time_mix_forward>("time_mix_forward"),
      entry<rwkv::wkv_backward>("wkv_backward"),
      entry<rwkv::wkv_forward>("wkv_forward"),
      {nullptr, nullptr, 0, nullptr},
  };
  static PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_native", nullptr, -1, functions, nullptr, nullptr, nullptr, nullptr};
  if (!rwkv::python::add_result_type()) return nullptr;
  return PyModule_Create(&definition);
}
