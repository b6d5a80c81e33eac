// The extension module: one bind_<area>() per file of this folder.
#include <nanobind/nanobind.h>

void bind_engine(nanobind::module_& m);
void bind_formats(nanobind::module_& m);
void bind_measure(nanobind::module_& m);
void bind_quantize(nanobind::module_& m);
void bind_tokenizer(nanobind::module_& m);

NB_MODULE(_native, m) {
    nanobind::set_leak_warnings(false);  // caches live until the interpreter goes
    m.doc() = "ingle's native kernels. Nothing here prints, aborts, or holds the GIL while computing.";
    bind_engine(m);
    bind_formats(m);
    bind_measure(m);
    bind_quantize(m);
    bind_tokenizer(m);
}
