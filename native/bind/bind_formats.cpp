// Number formats: decoding and the kernel layout, callable from Python.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string_view.h>

#include <string>
#include <string_view>

#include "formats/formats.h"
#include "formats/openai.h"
#include "formats/tile.h"

namespace nb = nanobind;

namespace ingle {
namespace {

using EncodedRows = nb::ndarray<const uint8_t, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
template <class T>
using Matrix = nb::ndarray<nb::numpy, T, nb::ndim<2>, nb::c_contig>;

const FormatEntry& format_named(std::string_view name) {
    if (const FormatEntry* format = find_format(name)) return *format;
    throw nb::value_error(("unknown number format " + std::string(name)).c_str());
}

// Blocks per row of `data`; ValueError unless its rows hold exactly `columns` weights.
size_t blocks_per_row(const FormatEntry& format, const EncodedRows& data, size_t columns) {
    const size_t blocks = columns / format.block;
    if (columns % format.block || data.shape(1) / format.block_bytes != blocks ||
        data.shape(1) % format.block_bytes)
        throw nb::value_error((std::string("rows of ") + std::to_string(data.shape(1)) +
                               " bytes do not hold " + std::to_string(columns) + " columns of " +
                               format.name).c_str());
    return blocks;
}

// An uninitialised (rows, columns) array. numpy allocates it: large ones then get huge pages.
template <class T>
Matrix<T> new_matrix(size_t rows, size_t columns, const char* dtype) {
    const nb::object empty = nb::module_::import_("numpy").attr("empty");
    return nb::cast<Matrix<T>>(empty(nb::make_tuple(rows, columns), dtype));
}

Matrix<float> decode(std::string_view name, const EncodedRows& data, size_t columns) {
    const FormatEntry& format = format_named(name);
    const size_t blocks = blocks_per_row(format, data, columns);
    Matrix<float> out = new_matrix<float>(data.shape(0), columns, "float32");
    const nb::gil_scoped_release unlocked;
    format.decode(data.data(), data.shape(0) * blocks, out.data());
    return out;
}

Matrix<uint8_t> pack_tiles(std::string_view name, const EncodedRows& data, size_t rows,
                           size_t columns) {
    const FormatEntry& format = format_named(name);
    if (!format.pack_tile)
        throw nb::value_error((std::string(format.name) + " has no kernel layout").c_str());
    if (rows != data.shape(0)) throw nb::value_error("rows must be the length of data");
    const size_t blocks = blocks_per_row(format, data, columns);
    const size_t row_bytes = data.shape(1), tile_bytes = kRowsOfTile * row_bytes;
    const size_t tiles = rows / kRowsOfTile + (rows % kRowsOfTile != 0);
    Matrix<uint8_t> out = new_matrix<uint8_t>(tiles, tile_bytes, "uint8");
    if (row_bytes == 0) return out;
    const nb::gil_scoped_release unlocked;
    for (size_t tile = 0; tile < tiles; ++tile) {
        const size_t first = tile * kRowsOfTile;
        const size_t num_rows = rows - first < kRowsOfTile ? rows - first : kRowsOfTile;
        format.pack_tile(data.data() + first * row_bytes, num_rows, row_bytes, blocks,
                         out.data() + tile * tile_bytes);
    }
    return out;
}

using Exponents = nb::ndarray<const uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

Matrix<uint8_t> openai_to_gguf(const EncodedRows& codes, const Exponents& exponents) {
    const size_t count = exponents.shape(0);
    if (codes.shape(0) != count || codes.shape(1) != 16)
        throw nb::value_error("codes must hold 16 bytes for every exponent");
    Matrix<uint8_t> out = new_matrix<uint8_t>(count, sizeof(BlockMXFP4), "uint8");
    const nb::gil_scoped_release unlocked;
    blocks_from_openai(codes.data(), exponents.data(), count,
                       reinterpret_cast<BlockMXFP4*>(out.data()));
    return out;
}

// The same into tiles that exist, at the start of each row of `out`.
void pack_tiles_into(std::string_view name, const EncodedRows& data, size_t columns,
                     nb::ndarray<uint8_t, nb::ndim<2>, nb::c_contig, nb::device::cpu> out) {
    const FormatEntry& format = format_named(name);
    if (!format.pack_tile)
        throw nb::value_error((std::string(format.name) + " has no kernel layout").c_str());
    const size_t blocks = blocks_per_row(format, data, columns), rows = data.shape(0);
    const size_t row_bytes = data.shape(1), tiles = (rows + kRowsOfTile - 1) / kRowsOfTile;
    if (out.shape(0) != tiles || out.shape(1) < kRowsOfTile * row_bytes)
        throw nb::value_error("out must be (ceil(rows / 16), tile bytes or more)");
    if (row_bytes == 0) return;
    const nb::gil_scoped_release unlocked;
    for (size_t tile = 0; tile < tiles; ++tile) {
        const size_t first = tile * kRowsOfTile;
        const size_t num_rows = rows - first < kRowsOfTile ? rows - first : kRowsOfTile;
        format.pack_tile(data.data() + first * row_bytes, num_rows, row_bytes, blocks,
                         out.data() + tile * out.shape(1));
    }
}

nb::dict format_facts() {
    nb::dict facts;
    for (const FormatEntry& format : all_formats())
        facts[format.name] = nb::make_tuple(
            format.block, format.block_bytes,
            format.pack_tile ? kRowsOfTile * format.block_bytes : size_t{0});
    return facts;
}

}  // namespace
}  // namespace ingle

void bind_formats(nb::module_& m) {
    m.def("decode", &ingle::decode, nb::arg("format_name"), nb::arg("data").noconvert(),
          nb::arg("columns"),
          "Weights float32 (rows, columns) of encoded rows uint8 (rows, row_bytes).");
    m.def("pack_tiles", &ingle::pack_tiles, nb::arg("format_name"), nb::arg("data").noconvert(),
          nb::arg("rows"), nb::arg("columns"),
          "Kernel tiles uint8 (num_tiles, tile_bytes) of encoded rows uint8 (rows, row_bytes).");
    m.def("openai_to_gguf", &ingle::openai_to_gguf, nb::arg("blocks").noconvert(),
          nb::arg("scales").noconvert(),
          "MXFP4 blocks uint8 (n, 17) of OpenAI's blocks uint8 (n, 16) and scales uint8 (n,).");
    m.def("pack_tiles_into", &ingle::pack_tiles_into, nb::arg("format_name"),
          nb::arg("data").noconvert(), nb::arg("columns"), nb::arg("out").noconvert(),
          "Kernel tiles of encoded rows, written to the start of each row of `out`.");
    m.def("format_facts", &ingle::format_facts,
          "name -> (weights per block, bytes per block, bytes of a tile per block or 0).");
}
