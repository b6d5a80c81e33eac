// Cases of the matrix products: every weight type x tiles 1..3 x columns 1..13 x kinds of data.
#include <iterator>

#include "cases.h"
#include "formats/formats.h"

namespace ingle::test {
namespace {

constexpr int kMaxTiles = 3, kMaxColumns = 13;
constexpr int64_t kPad = 64;          // bytes between tiles
constexpr int64_t kOutPad = 5;        // floats between columns of the output
constexpr int64_t kSkippedColumns = 1;

struct TypeUnderTest {
    WeightType type;
    const char* format;        // its name in formats.h
    int halves[2];             // where a block has binary16 numbers; -1: nowhere
};
constexpr TypeUnderTest kTypes[] = {
    {WeightType::F32, "F32", {-1, -1}},     {WeightType::F16, "F16", {0, -1}},
    {WeightType::BF16, "BF16", {-1, -1}},   {WeightType::Q8_0, "Q8_0", {0, -1}},
    {WeightType::Q4_0, "Q4_0", {0, -1}},    {WeightType::Q4_1, "Q4_1", {0, 2}},
    {WeightType::Q5_0, "Q5_0", {0, -1}},    {WeightType::Q5_1, "Q5_1", {0, 2}},
    {WeightType::IQ4_NL, "IQ4_NL", {0, -1}}, {WeightType::MXFP4, "MXFP4", {-1, -1}},
    {WeightType::Q2_K, "Q2_K", {80, 82}},   {WeightType::Q3_K, "Q3_K", {108, -1}},
    {WeightType::Q4_K, "Q4_K", {0, 2}},     {WeightType::Q5_K, "Q5_K", {0, 2}},
    {WeightType::Q6_K, "Q6_K", {208, -1}},  {WeightType::IQ4_XS, "IQ4_XS", {0, -1}},
    {WeightType::Q6_0, "Q6_0", {0, -1}},    {WeightType::BF16_BF16, "BF16", {-1, -1}},
};
static_assert(std::size(kTypes) == kWeightTypes, "every weight type has its cases");

// Finite binary16, for Edge of any exponent, else of magnitude below 2.
void make_half(Random& random, Data data, uint8_t* p) {
    const uint16_t usual = static_cast<uint16_t>(random.next() & 0xBFFF);
    const uint16_t edge = static_cast<uint16_t>(usual | (random.next() & 0x4000));
    const uint16_t half = data == Data::Zeros ? 0 : data == Data::Usual ? usual : edge;
    const uint16_t finite = (half & 0x7C00) == 0x7C00 ? half & 0x83FF : half;
    std::memcpy(p, &finite, 2);
}

// A float or bfloat16 of random bits would mostly be huge or nothing: its exponent is tamed.
void make_float(Random& random, Data data, uint8_t* p, size_t nbytes) {
    Guarded<float> one(1);
    fill(random, data, one);
    std::memcpy(p, reinterpret_cast<const uint8_t*>(one.data()) + 4 - nbytes, nbytes);
}

void make_rows(Random& random, Data data, const TypeUnderTest& t, const FormatEntry& format,
               int64_t blocks, Guarded<uint8_t>& rows) {
    for (int64_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<uint8_t>(random.next());
    for (int64_t i = 0; i < kTileRows * blocks; ++i) {
        uint8_t* block = rows.data() + i * static_cast<int64_t>(format.block_bytes);
        for (const int half : t.halves)
            if (half >= 0) make_half(random, data, block + half);
        if (t.type == WeightType::F32) make_float(random, data, block, 4);
        if (t.type == WeightType::BF16 || t.type == WeightType::BF16_BF16) make_float(random, data, block, 2);
        if (t.type == WeightType::MXFP4 && data == Data::Usual)  // exponents about that of 1
            block[0] = static_cast<uint8_t>(120 + random.below(16));
        if (t.type == WeightType::MXFP4 && data == Data::Zeros)
            block[0] = static_cast<uint8_t>(random.below(3));
        if (t.type == WeightType::MXFP4 && data == Data::Edge && i / blocks % 2)
            block[0] = static_cast<uint8_t>(random.below(3));  // rows of the smallest scales alone
    }
}

struct Weights {
    int64_t tile_bytes, stride;
    Guarded<uint8_t> tiles;

    Weights(const FormatEntry& format, int64_t blocks)
        : tile_bytes(kTileRows * blocks * static_cast<int64_t>(format.block_bytes)),
          stride(tile_bytes + kPad), tiles(stride * (kMaxTiles - 1) + tile_bytes) {}
};

void make_weights(Random& random, Data data, const TypeUnderTest& t, const FormatEntry& format,
                  int64_t blocks, Weights& w) {
    Guarded<uint8_t> rows(w.tile_bytes);
    for (int tile = 0; tile < kMaxTiles; ++tile) {
        make_rows(random, data, t, format, blocks, rows);
        format.pack_tile(rows.data(), kTileRows, static_cast<size_t>(w.tile_bytes / kTileRows),
                         static_cast<size_t>(blocks), w.tiles.data() + tile * w.stride);
    }
}

std::string named(const char* kernel, const TypeUnderTest& t, Data data, int64_t width, int tiles,
                  int64_t columns) {
    return std::string(kernel) + " " + t.format + " data " + std::to_string(static_cast<int>(data)) +
           " width " + std::to_string(width) + " tiles " + std::to_string(tiles) + " columns " +
           std::to_string(columns);
}

// Runs both over `columns` columns and compares all of the output, also what they must leave alone.
template <class Run>
void expect_same(Comparison& comparison, const std::string& what, int tiles, int64_t columns, Run run) {
    const int64_t out_stride = tiles * kTileRows + kOutPad;
    const int64_t size = columns * out_stride - kOutPad;
    Guarded<float> ours(size), generic(size);
    for (int64_t i = 0; i < size; ++i) ours[i] = generic[i] = 12345.0f;
    run(comparison.kernels, ours.data(), out_stride);
    run(kernels_generic(), generic.data(), out_stride);
    comparison.expect(what, ours, generic);
}

void q8_cases(Comparison& comparison, Random& random, Data data, const TypeUnderTest& t,
              const FormatEntry& format, int64_t blocks) {
    const int type = static_cast<int>(t.type);
    const int64_t width = blocks * static_cast<int64_t>(format.block);
    const int64_t columns = kMaxColumns + kSkippedColumns, scales = columns * width / kBlock;
    Weights w(format, blocks);
    make_weights(random, data, t, format, blocks, w);
    Guarded<float> x(columns * width), d(scales), ds(scales);
    Guarded<int8_t> q(columns * width);
    Guarded<int32_t> sum(scales);
    fill(random, data == Data::Edge ? Data::Usual : data, x);
    if (data == Data::Edge)  // all codes at their limits: the largest sums
        for (int64_t i = 0; i < x.size(); ++i) x[i] = random.below(8) ? 1e3f : -1e3f;
    for (int64_t c = 0; c < columns; ++c)
        kernels_generic().quantize_row(x.data() + c * width, width, q.data() + c * width,
                                       d.data() + c * width / kBlock, ds.data() + c * width / kBlock,
                                       sum.data() + c * width / kBlock);
    const Q8Rows rows = {q.data(), d.data(), ds.data(), sum.data(), width};
    for (int tiles = 1; tiles <= kMaxTiles; ++tiles)
        for (int64_t n = 1; n <= kMaxColumns; ++n)
            expect_same(comparison, named("q8_matmul", t, data, width, tiles, n), tiles, n,
                        [&](const Kernels& k, float* out, int64_t out_stride) {
                const Ahead ahead = n % 2 ? Ahead{w.tiles.data(), w.stride} : Ahead{};
                k.q8_matmul[type](w.tiles.data(), w.stride, tiles, rows, kSkippedColumns, n, out, out_stride,
                                  ahead);
            });
}

void f32_cases(Comparison& comparison, Random& random, Data data, const TypeUnderTest& t,
               const FormatEntry& format, int64_t blocks) {
    const int type = static_cast<int>(t.type);
    const int64_t width = blocks * static_cast<int64_t>(format.block), stride = width + 3;
    Weights w(format, blocks);
    make_weights(random, data, t, format, blocks, w);
    Guarded<float> x(kMaxColumns * stride - 3);
    fill(random, data, x);
    for (int tiles = 1; tiles <= kMaxTiles; ++tiles)
        for (int64_t n = 1; n <= kMaxColumns; ++n)
            expect_same(comparison, named("f32_matmul", t, data, width, tiles, n), tiles, n,
                        [&](const Kernels& k, float* out, int64_t out_stride) {
                const Ahead ahead = n % 2 ? Ahead{w.tiles.data(), w.stride} : Ahead{};
                k.f32_matmul[type](w.tiles.data(), w.stride, tiles, width, x.data(), stride, n, out,
                                   out_stride, ahead);
            });
}

}  // namespace

void matmul_cases(Comparison& comparison) {
    Random random(1);
    for (const TypeUnderTest& t : kTypes) {
        const FormatEntry& format = *find_format(t.format);
        const int type = static_cast<int>(t.type);
        for (const Data data : kData) {
            for (const int64_t blocks : {1, 2, 5})
                if (kernels_generic().q8_matmul[type])
                    q8_cases(comparison, random, data, t, format, blocks);
            const bool single = format.block == 1;  // then a row may end inside 32 columns
            for (const int64_t blocks : {single ? 7 : 1, single ? 32 : 2, single ? 77 : 3})
                f32_cases(comparison, random, data, t, format, blocks);
        }
    }
}

}  // namespace ingle::test
