// Sixteen float lanes, sixteen int32 lanes and 64 bytes in one AVX-512 register each.
// Included inside a kernel namespace; see kernels.inl.h for the list of primitives.
using F = __m512;   // 16 x float32
using I = __m512i;  // 16 x int32
using B = __m512i;  // 64 x uint8: 16 rows x 4 columns of weights

// vpdpbusd wants unsigned weights: signed ones are stored biased by 128 and corrected with the
// activations' block sum.
constexpr bool kBiasedSigned = true;
constexpr bool kMayHaveBf16Products = true, kMayHaveByteLookup = true;
// 2 tiles x 6 columns: as many registers of sums and of totals, four of weights
constexpr int kTilesTogether = 2, kMaxColumns = 6;
constexpr int kTileQueries = 4, kTileVectors = 4;  // of attention: 16 registers of sums

INLINE F f_zero() { return _mm512_setzero_ps(); }
INLINE F f_set1(float x) { return _mm512_set1_ps(x); }
INLINE F f_load(const float* p) { return _mm512_loadu_ps(p); }
INLINE void f_store(float* p, F x) { _mm512_storeu_ps(p, x); }
INLINE F f_add(F a, F b) { return _mm512_add_ps(a, b); }
INLINE F f_sub(F a, F b) { return _mm512_sub_ps(a, b); }
INLINE F f_mul(F a, F b) { return _mm512_mul_ps(a, b); }
INLINE F f_div(F a, F b) { return _mm512_div_ps(a, b); }
INLINE F f_fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
INLINE F f_max(F a, F b) { return _mm512_max_ps(a, b); }
INLINE F f_min(F a, F b) { return _mm512_min_ps(a, b); }
INLINE F f_abs(F a) { return _mm512_abs_ps(a); }
INLINE F f_round(F a) {
    return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
INLINE F f_where_lt(F a, F b, F x, F y) {
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), y, x);
}
// lanes [lo, hi) keep x, the others become y
INLINE F f_keep(F x, F y, int lo, int hi) {
    const __mmask16 below_hi = hi >= 16 ? 0xFFFF : static_cast<__mmask16>((1u << hi) - 1);
    const __mmask16 below_lo = lo >= 16 ? 0xFFFF : static_cast<__mmask16>((1u << lo) - 1);
    return _mm512_mask_blend_ps(static_cast<__mmask16>(below_hi & ~below_lo), y, x);
}
INLINE F f_pow2(F n) {  // 2^n for integral n in [-126, 127]
    const I e = _mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127));
    return _mm512_castsi512_ps(_mm512_slli_epi32(e, 23));
}
INLINE F f_scale(F x, F n) { return _mm512_scalef_ps(x, n); }  // x * 2^n
// Lane l is added to l + 8, then l + 4, l + 2, l + 1: the order every instruction set keeps.
INLINE float f_sum(F a) {
    const __m256 h = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
    const __m128 q = _mm_add_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
    const __m128 d = _mm_add_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_add_ss(d, _mm_shuffle_ps(d, d, 1)));
}
INLINE float f_hmax(F a) { return _mm512_reduce_max_ps(a); }
INLINE F f_load_f16(const uint8_t* p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
INLINE void f_store_f16(uint16_t* p, F x) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p),
                        _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
INLINE F f_load_bf16(const uint8_t* p) {
    const I wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
    return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}
// rounded to BF16, ties to even
INLINE F f_to_bf16(F a) {
    const I bits = _mm512_castps_si512(a);
    const I odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    const I up = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7FFF)), odd);
    const I kept = _mm512_and_si512(up, _mm512_set1_epi32(static_cast<int>(0xFFFF0000u)));
    return _mm512_mask_mov_ps(_mm512_castsi512_ps(kept), _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q), a);
}
// E8M0 scale of doubled E2M1 values: 2^(e - 128), subnormal for e < 2
INLINE F f_load_e8m0_half(const uint8_t* p) {
    const I e = _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
    const I normal = _mm512_slli_epi32(_mm512_sub_epi32(e, _mm512_set1_epi32(1)), 23);
    const I tiny = _mm512_sllv_epi32(_mm512_set1_epi32(0x00200000), e);
    const __mmask16 small = _mm512_cmplt_epi32_mask(e, _mm512_set1_epi32(2));
    return _mm512_castsi512_ps(_mm512_mask_blend_epi32(small, normal, tiny));
}
INLINE I i_set1(int32_t x) { return _mm512_set1_epi32(x); }
INLINE F i_to_f(I a) { return _mm512_cvtepi32_ps(a); }
INLINE int32_t f_store_i8(int8_t* p, F integral) {  // returns the sum of the 16 integers
    const I q = _mm512_cvtps_epi32(integral);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(q));
    return _mm512_reduce_add_epi32(q);
}
INLINE B b_load(const uint8_t* p) { return _mm512_loadu_si512(p); }
INLINE B b_low(B a) { return _mm512_and_si512(a, _mm512_set1_epi8(15)); }
INLINE B b_high(B a) { return b_low(_mm512_srli_epi16(a, 4)); }
INLINE B b_bias(B a) { return _mm512_xor_si512(a, _mm512_set1_epi8(-128)); }
INLINE B b_lookup(const uint8_t* table16, B codes) {
    const __m128i t = _mm_loadu_si128(reinterpret_cast<const __m128i*>(table16));
    return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(t), codes);
}
#ifdef __AVX512VBMI__
#define INGLE_NIBBLE_LOOKUP
// table16[nibble] of the low and of the high nibbles. vpermb looks at six bits of an index; in a table
// that is there four times only four of them count, and nothing needs to be masked.
INLINE void b_lookup_nibbles(const uint8_t* table16, B both, B& low, B& high) {
    const __m128i t = _mm_loadu_si128(reinterpret_cast<const __m128i*>(table16));
    const B table = _mm512_broadcast_i32x4(t);
    low = _mm512_permutexvar_epi8(both, table);
    high = _mm512_permutexvar_epi8(_mm512_srli_epi16(both, 4), table);
}
#endif
// codes, raised by 16 where bit 4 g + j of word r is set, for byte 4 r + j
INLINE B b_or_fifth(B codes, B words, int g) {
    const B spread = _mm512_add_epi8(
        _mm512_broadcast_i32x4(_mm_setr_epi8(0, 0, 0, 0, 4, 4, 4, 4, 8, 8, 8, 8, 12, 12, 12, 12)),
        _mm512_set1_epi8(static_cast<char>(g / 2)));
    const B bits = _mm512_set1_epi32(g % 2 ? static_cast<int>(0x80402010u) : 0x08040201);
    const __mmask64 set = _mm512_test_epi8_mask(_mm512_shuffle_epi8(words, spread), bits);
    return _mm512_or_si512(codes, _mm512_maskz_set1_epi8(set, 16));
}
// bits of each byte, moved right by `right` (left where negative), then masked
INLINE B b_bits(B a, int right, int mask) {
    const B moved = right < 0 ? _mm512_slli_epi16(a, static_cast<unsigned>(-right))
                              : _mm512_srli_epi16(a, static_cast<unsigned>(right));
    return _mm512_and_si512(moved, _mm512_set1_epi8(static_cast<char>(mask)));
}
INLINE B b_or(B a, B b) { return _mm512_or_si512(a, b); }
// 16 bytes as integers: unsigned, moved right and masked; or signed
INLINE F f_load_bits(const uint8_t* p, int right, int mask) {
    const I wide = _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
    const I moved = _mm512_srl_epi32(wide, _mm_cvtsi32_si128(right));
    return _mm512_cvtepi32_ps(_mm512_and_si512(moved, _mm512_set1_epi32(mask)));
}
INLINE F f_load_i8(const uint8_t* p) {
    return _mm512_cvtepi32_ps(
        _mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
}
INLINE I four_columns(const int8_t* a) {
    int32_t word;
    __builtin_memcpy(&word, a, 4);
    return _mm512_set1_epi32(word);
}
// acc[row] += sum over 4 columns of w[row][j] * a[j]; w unsigned
INLINE I dot_u8(I acc, B w, const int8_t* a) { return _mm512_dpbusd_epi32(acc, w, four_columns(a)); }
INLINE I dot_s8(I acc, B w, const int8_t* a) { return dot_u8(acc, w, a); }  // w biased, see above
INLINE void prefetch(const void* p) { _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T0); }
INLINE void prefetch_l2(const void* p) { _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T1); }
