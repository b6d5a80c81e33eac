// What this machine can do at most, for Python. Arguments are checked before any work starts.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <stdexcept>
#include <tuple>

#include "engine/measure.h"

namespace nb = nanobind;
using namespace nb::literals;
using namespace ingle;

namespace {

using Buffer = nb::ndarray<const uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Found = std::tuple<double, std::vector<double>>;  // operations, seconds of each pass

void check_passes(int passes) {
    if (passes < 1 || passes > 10000) throw std::invalid_argument("passes must be 1 to 10000");
}

std::vector<double> read_passes(Pool& pool, Buffer data, int passes) {
    check_passes(passes);
    if (data.shape(0) < 4096) throw std::invalid_argument("data must have at least 4096 bytes");
    nb::gil_scoped_release release;
    return measure_read(pool, data.data(), static_cast<int64_t>(data.shape(0)), passes);
}

template <Peak (*Measure)(Pool&, const std::string&, int)>
Found peak_passes(Pool& pool, const std::string& isa, int passes) {
    check_passes(passes);
    nb::gil_scoped_release release;
    Peak found = Measure(pool, isa, passes);
    return {found.operations, std::move(found.seconds)};
}

}  // namespace

void bind_measure(nb::module_& m) {
    m.def("measure_read", &read_passes, "pool"_a, "data"_a, "passes"_a,
          "Seconds of each pass in which the pool's threads together read `data` once.");
    m.def("measure_int8", &peak_passes<measure_int8>, "pool"_a, "isa"_a, "passes"_a,
          "Operations of one pass of 8-bit products without memory, and seconds of each pass.");
    m.def("measure_float", &peak_passes<measure_float>, "pool"_a, "isa"_a, "passes"_a,
          "Operations of one pass of float32 multiply-adds without memory, and seconds of each pass.");
}
