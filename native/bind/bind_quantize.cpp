// Encoding of weights, callable from Python.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string_view.h>

#include <optional>
#include <string>
#include <string_view>

#include "quantize/encode.h"
#include "quantize/gptq.h"

namespace nb = nanobind;

namespace ingle {
namespace {

using Rows = nb::ndarray<const float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using Columns = nb::ndarray<const float, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Encoded = nb::ndarray<nb::numpy, uint8_t, nb::ndim<2>, nb::c_contig>;

const Encoder& encoder_named(std::string_view name, size_t columns) {
    const Encoder* encoder = find_encoder(name);
    if (!encoder) throw nb::value_error(("no encoder of " + std::string(name)).c_str());
    if (columns % encoder->block)
        throw nb::value_error(("rows must be whole blocks of " + std::string(name)).c_str());
    return *encoder;
}

Encoded new_rows(size_t rows, size_t row_bytes) {
    const nb::object empty = nb::module_::import_("numpy").attr("empty");
    return nb::cast<Encoded>(empty(nb::make_tuple(rows, row_bytes), "uint8"));
}

nb::tuple encode(std::string_view name, const Rows& weights, std::optional<Columns> importance,
                 bool search, int threads) {
    const size_t rows = weights.shape(0), columns = weights.shape(1);
    const Encoder& encoder = encoder_named(name, columns);
    if (importance && importance->shape(0) != columns)
        throw nb::value_error("importance must be a number per column");
    const size_t row_bytes = columns / encoder.block * encoder.block_bytes;
    Encoded out = new_rows(rows, row_bytes);
    EncodeRows* work = search && encoder.search ? encoder.search : encoder.ggml;
    const float *data = weights.data(), *weight = importance ? importance->data() : nullptr;
    uint8_t* target = out.data();
    Fault fault;
    {
        const nb::gil_scoped_release unlocked;
        fault = in_parts(rows, threads, [&](size_t first, size_t last) {
            return work(data + first * columns, last - first, columns, weight,
                        target + first * row_bytes);
        });
    }
    return nb::make_tuple(out, static_cast<int>(fault));
}

nb::tuple encode_curved(std::string_view name, const Rows& weights, const Rows& hessian,
                        const Rows& factor, int sweeps, int threads) {
    const size_t rows = weights.shape(0), columns = weights.shape(1);
    const Encoder& encoder = encoder_named(name, columns);
    EncodeCurved* work = find_curved_encoder(name);
    if (!work) throw nb::value_error(("no codes to choose in " + std::string(name)).c_str());
    for (const Rows* square : {&hessian, &factor})
        if (square->shape(0) != columns || square->shape(1) != columns)
            throw nb::value_error("hessian and factor must be (columns, columns)");
    const size_t row_bytes = columns / encoder.block * encoder.block_bytes;
    Encoded out = new_rows(rows, row_bytes);
    const Curvature curvature{hessian.data(), factor.data(), columns, sweeps};
    const float* data = weights.data();
    uint8_t* target = out.data();
    Fault fault;
    {
        const nb::gil_scoped_release unlocked;
        fault = in_parts(rows, threads, [&](size_t first, size_t last) {
            return work(data + first * columns, last - first, curvature, target + first * row_bytes);
        });
    }
    return nb::make_tuple(out, static_cast<int>(fault));
}

}  // namespace
}  // namespace ingle

void bind_quantize(nb::module_& m) {
    m.def("encode_rows", &ingle::encode, nb::arg("format_name"), nb::arg("weights").noconvert(),
          nb::arg("importance").noconvert().none(), nb::arg("search"), nb::arg("threads"),
          "(encoded rows uint8, fault) of weights float32 (rows, columns); fault: 0 none, 1 a weight "
          "is not finite, 2 a scale overflows float16.");
    m.def("encode_rows_curved", &ingle::encode_curved, nb::arg("format_name"),
          nb::arg("weights").noconvert(), nb::arg("hessian").noconvert(),
          nb::arg("factor").noconvert(), nb::arg("sweeps"), nb::arg("threads"),
          "As encode_rows, by GPTQ and then `sweeps` of coordinate descent. hessian: damped X^T X; "
          "factor: upper triangular U, U^T U its inverse.");
}
