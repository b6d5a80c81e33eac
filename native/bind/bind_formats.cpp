// Number formats: decoding and the kernel layout, callable from Python.
#include <nanobind/nanobind.h>

void bind_formats(nanobind::module_& m) { (void)m; }
