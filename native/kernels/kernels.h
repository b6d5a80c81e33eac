// What one instruction set offers. Every entry gives the same bits on every instruction set: the
// order of each reduction and each rounding is part of its contract (docs/performance.md).
#pragma once
#include <cstdint>
#include <type_traits>

#include "kernels/spans.h"

namespace ingle {

// BF16_BF16: weights as in BF16, but activations are rounded to BF16 before they are multiplied.
enum class WeightType : int { F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, IQ4_NL, MXFP4,
                        Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, IQ4_XS, Q6_0, BF16_BF16, Count };
constexpr int kWeightTypes = static_cast<int>(WeightType::Count);
constexpr int kTileRows = 16;
constexpr int kBlock = 32;       // columns that share a scale
constexpr int kPageTokens = 64;  // positions of one KV page, and of one attention fold

// Rows of activations as int8 with one scale per 32 columns. `d`: scale; `ds`: scale times the
// block's sum (for affine weights); `sum`: the integer sums of the block's columns 0-15 (low 16 bits)
// and 16-31 (high 16 bits), for biased codes and for weights whose scales span 16 columns.
struct Q8Rows {
    int8_t* q;     // (rows, columns)
    float* d;      // (rows, columns / 32)
    float* ds;     // (rows, columns / 32)
    int32_t* sum;  // (rows, columns / 32)
    int64_t columns;
};

// What keys and values are kept as. F16: IEEE binary16, rounded once, when they are written.
enum class KvType : int { F32, F16, Count };
constexpr int kKvTypes = static_cast<int>(KvType::Count);
constexpr int64_t kv_value_bytes(KvType type) { return type == KvType::F32 ? 4 : 2; }

// Query tokens at consecutive positions of one sequence against the cached keys and values of one
// KV head; row r sees positions up to last + r, at most `window` of them if that is not 0.
struct AttendArgs {
    const float* q;          // row r: q + r * q_stride, (heads, head_dim): heads of this KV head
    float* out;              // row r: out + r * out_stride, (heads, head_dim)
    int64_t q_stride, out_stride;
    int num_rows;            // at most kAttendRows
    int64_t last, window;
    const int32_t* pages;    // page of absolute positions [64 p, 64 p + 64)
    const uint8_t* keys;     // page p: keys + p * page_stride, (head_dim, 64)
    const uint8_t* values;   // page p: values + p * page_stride, (64, head_dim)
    int64_t page_stride;     // bytes from one page to the next
    const float* sinks;      // (heads,) or null
    float scale;
    int heads, head_dim;     // head_dim % 16 == 0, at most kMaxHeadDim
};
constexpr int kAttendRows = 8;
constexpr int kMaxHeadDim = 256;

enum class Activation : int { Silu, ClampedSwiglu, GeluTanh, Count };
enum class Routing : int { SoftmaxOfTopK, TopKOfSoftmax };

// Router logits of one token to its experts, best first; ties go to the lower index.
struct RouteArgs {
    const float* logits;  // (num_experts,)
    int num_experts;      // at most kMaxExperts
    int ranks;            // experts to choose
    Routing routing;
    bool renormalize;     // TopKOfSoftmax: divide by the sum of the chosen
    int32_t* ids;         // (ranks,)
    float* weights;       // (ranks,)
};
constexpr int kMaxExperts = 1024;

// What a thread reads next: asked for while a product is under way. null: it is not known.
struct Ahead {
    const uint8_t* at = nullptr;
    int64_t nbytes = 0;
};

struct Kernels {
    const char* isa;
    // out[c * out_stride + r], r < 16 num_tiles: tiles, `tile_stride` bytes from one to the next,
    // times columns c of x; all rows of every tile are written
    void (*q8_matmul[kWeightTypes])(const uint8_t* tile, int64_t tile_stride, int num_tiles,
                                    const Q8Rows& x, int64_t first_column, int64_t num_columns,
                                    float* out, int64_t out_stride, Ahead ahead);
    void (*f32_matmul[kWeightTypes])(const uint8_t* tile, int64_t tile_stride, int num_tiles,
                                     int64_t width, const float* x, int64_t x_stride,
                                     int64_t num_columns, float* out, int64_t out_stride, Ahead ahead);
    void (*rms_norm)(const float* x, const float* weight, int64_t n, float eps, float* y);
    void (*quantize_row)(const float* x, int64_t n, int8_t* q, float* d, float* ds, int32_t* sum);
    void (*layer_norm)(const float* x, const float* weight, const float* bias, int64_t n, float eps,
                       float* y);
    // n % 16 == 0; gate is null for GeluTanh
    void (*activate[static_cast<int>(Activation::Count)])(const float* gate, const float* up,
                                                          int64_t n, float* y);
    // total += weight * y by fma, n % 16 == 0
    void (*add_weighted)(float weight, const float* y, int64_t n, float* total);
    void (*route)(const RouteArgs& args);
    void (*attend[kKvTypes])(const AttendArgs& args);
    // The same in parts, for one row without a window: the span that begins at `page`, as a state of
    // span_state(head_dim) floats a head; then all spans, `stride` floats apart, into args.out.
    void (*attend_span[kKvTypes])(const AttendArgs& args, int64_t page, float* states);
    void (*fold_spans)(const AttendArgs& args, const float* states, int64_t num_spans, int64_t stride);
    // n % 16 == 0; ties to even, beyond +-65504 the largest number
    void (*round_f16)(const float* x, int64_t n, uint16_t* y);
};

// Products of BF16 by AVX-512 BF16, for CPUs that have it beside AVX-512 VNNI; f32_matmul.inl.h says
// what they are. works(): it is there and sums as documented.
namespace avx512bf16 {
bool works();
void matmul(const uint8_t* tile, int64_t tile_stride, int num_tiles, int64_t width, const float* x,
            int64_t x_stride, int64_t num_columns, float* out, int64_t out_stride, Ahead ahead);
}  // namespace avx512bf16

// Products of the types whose codes are looked up, for CPUs that have AVX-512 VBMI beside VNNI: a byte
// lookup that needs no masks. The same bits.
namespace avx512vbmi {
bool works();
void mxfp4(const uint8_t* tile, int64_t tile_stride, int num_tiles, const Q8Rows& x, int64_t first_column,
           int64_t num_columns, float* out, int64_t out_stride, Ahead ahead);
void iq4_nl(const uint8_t* tile, int64_t tile_stride, int num_tiles, const Q8Rows& x, int64_t first_column,
            int64_t num_columns, float* out, int64_t out_stride, Ahead ahead);
}  // namespace avx512vbmi

const Kernels& kernels_generic();
#ifdef INGLE_X86
const Kernels& kernels_avx2();
const Kernels& kernels_avx512vnni();
#endif
#ifdef INGLE_ARM64
const Kernels& kernels_neon();
const Kernels& kernels_neon_dotprod();
#endif

}  // namespace ingle
