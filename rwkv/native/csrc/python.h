// Between Python and C++: functions of plain arrays become functions of a Python module, by the stable ABI of 3.11.
//
// An argument is anything with the buffer protocol (Array), None or such a thing (OptionalArray), a sequence of them
// (std::vector<Array>), a sequence of ints (std::vector<int64_t>), an int, a float or a bool. A result is an object with
// the buffer protocol or a list of them. Exceptions become Python's, here and nowhere else.
#pragma once

#define Py_LIMITED_API 0x030b0000
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <cstdint>
#include <deque>
#include <exception>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "array.h"
#include "checks.h"

namespace rwkv::python {

// A Python exception that is already set.
struct Raised {};

// The arguments of one call. Their memory is held until it ends.
class Arguments {
 public:
  Arguments(PyObject *const *items, Py_ssize_t count) : items_(items), count_(count) {}
  Arguments(const Arguments &) = delete;
  ~Arguments();

  void check_count(Py_ssize_t expected) const;
  Py_ssize_t place() const { return next_; }
  PyObject *next() { return items_[next_++]; }
  Array hold(PyObject *object);

 private:
  PyObject *const *items_;
  Py_ssize_t count_, next_ = 0;
  std::deque<Py_buffer> held_;
};

void convert(Arguments &arguments, Array &to);
void convert(Arguments &arguments, OptionalArray &to);
void convert(Arguments &arguments, std::vector<Array> &to);
void convert(Arguments &arguments, std::vector<OptionalArray> &to);
void convert(Arguments &arguments, std::vector<int64_t> &to);
void convert(Arguments &arguments, int64_t &to);
void convert(Arguments &arguments, double &to);
void convert(Arguments &arguments, bool &to);

PyObject *to_python(Array array);
PyObject *to_python(std::vector<Array> arrays);

// Makes the type of results; call once. Returns whether it was made.
bool add_result_type();

// Sets Python's exception from the one that is being handled. Returns null.
PyObject *raise_current();

// Lets other Python threads run meanwhile.
class Released {
 public:
  Released() : state_(PyEval_SaveThread()) {}
  Released(const Released &) = delete;
  ~Released();

 private:
  PyThreadState *state_;
};

template <typename T>
T converted(Arguments &arguments) {
  T value{};
  convert(arguments, value);
  return value;
}

template <typename Result, typename... Parameters>
PyObject *call(Result (*function)(Parameters...), PyObject *const *items, Py_ssize_t count) {
  try {
    Arguments arguments(items, count);
    arguments.check_count(sizeof...(Parameters));
    // Braces, so that they are converted in order.
    std::tuple<std::decay_t<Parameters>...> values{converted<std::decay_t<Parameters>>(arguments)...};
    Result result = [&] {
      const Released released;
      return std::apply(function, values);
    }();
    return to_python(std::move(result));
  } catch (...) {
    return raise_current();
  }
}

// A row of a module's table of functions.
template <auto Function>
PyMethodDef entry(const char *name) {
  const auto call_it = [](PyObject *, PyObject *const *items, Py_ssize_t count) { return call(Function, items, count); };
  PyObject *(*const pointer)(PyObject *, PyObject *const *, Py_ssize_t) = call_it;
  return {name, reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(pointer)), METH_FASTCALL, nullptr};
}

}  // namespace rwkv::python
