// Products of MXFP4 and IQ4_NL by AVX-512 VBMI (Ice Lake 2019, Zen 4 2022), behind q8_matmul.inl.h's
// looked_up: vpermb looks codes up without masking them first.
#include "kernels/kernels.h"

#include <immintrin.h>
#define INLINE inline __attribute__((always_inline))

namespace ingle {
namespace {
#include "kernels/simd_avx512.h"
#include "kernels/block_types.inl.h"
#include "kernels/q8_matmul.inl.h"
}  // namespace

namespace avx512vbmi {

bool works() {
    static const bool yes = __builtin_cpu_supports("avx512vbmi");
    return yes;
}

void mxfp4(const uint8_t* tile, int64_t tile_stride, int num_tiles, const Q8Rows& x, int64_t first_column,
           int64_t num_columns, float* out, int64_t out_stride, Ahead ahead) {
    q8_matmul<TypeMXFP4>(tile, tile_stride, num_tiles, x, first_column, num_columns, out, out_stride, ahead);
}

void iq4_nl(const uint8_t* tile, int64_t tile_stride, int num_tiles, const Q8Rows& x, int64_t first_column,
            int64_t num_columns, float* out, int64_t out_stride, Ahead ahead) {
    q8_matmul<TypeIQ4_NL>(tile, tile_stride, num_tiles, x, first_column, num_columns, out, out_stride, ahead);
}

}  // namespace avx512vbmi
}  // namespace ingle
