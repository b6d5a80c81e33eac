// Sixteen float lanes as two AVX registers. Included inside a kernel namespace.
struct F { __m256 a, b; };   // 16 x float32
struct I { __m256i a, b; };  // 16 x int32
struct B { __m256i a, b; };  // 64 x uint8: 16 rows x 4 columns of weights

constexpr bool kMayHaveBf16Products = false, kMayHaveByteLookup = false, kBiasedSigned = false;  // vpmaddubsw would saturate on biased bytes
constexpr int kTilesTogether = 1, kMaxColumns = 4;
constexpr int kTileQueries = 4, kTileVectors = 1;  // of attention: 8 registers of sums

INLINE F f_set1(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
INLINE F f_zero() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
INLINE F f_load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
INLINE void f_store(float* p, F x) { _mm256_storeu_ps(p, x.a); _mm256_storeu_ps(p + 8, x.b); }
INLINE F f_add(F x, F y) { return {_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b)}; }
INLINE F f_sub(F x, F y) { return {_mm256_sub_ps(x.a, y.a), _mm256_sub_ps(x.b, y.b)}; }
INLINE F f_mul(F x, F y) { return {_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b)}; }
INLINE F f_div(F x, F y) { return {_mm256_div_ps(x.a, y.a), _mm256_div_ps(x.b, y.b)}; }
INLINE F f_fma(F x, F y, F z) {
    return {_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)};
}
INLINE F f_max(F x, F y) { return {_mm256_max_ps(x.a, y.a), _mm256_max_ps(x.b, y.b)}; }
INLINE F f_min(F x, F y) { return {_mm256_min_ps(x.a, y.a), _mm256_min_ps(x.b, y.b)}; }
INLINE F f_abs(F x) {
    const __m256 sign = _mm256_set1_ps(-0.0f);
    return {_mm256_andnot_ps(sign, x.a), _mm256_andnot_ps(sign, x.b)};
}
INLINE F f_round(F x) {
    constexpr int mode = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
    return {_mm256_round_ps(x.a, mode), _mm256_round_ps(x.b, mode)};
}
INLINE F f_where_lt(F p, F q, F x, F y) {
    return {_mm256_blendv_ps(y.a, x.a, _mm256_cmp_ps(p.a, q.a, _CMP_LT_OQ)),
            _mm256_blendv_ps(y.b, x.b, _mm256_cmp_ps(p.b, q.b, _CMP_LT_OQ))};
}
INLINE __m256 lanes_between(int first, int lo, int hi) {
    const __m256i lane = _mm256_add_epi32(_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7),
                                          _mm256_set1_epi32(first));
    const __m256i from_lo = _mm256_cmpgt_epi32(lane, _mm256_set1_epi32(lo - 1));
    const __m256i to_hi = _mm256_cmpgt_epi32(_mm256_set1_epi32(hi), lane);
    return _mm256_castsi256_ps(_mm256_and_si256(from_lo, to_hi));
}
INLINE F f_keep(F x, F y, int lo, int hi) {  // lanes [lo, hi) keep x, the others become y
    return {_mm256_blendv_ps(y.a, x.a, lanes_between(0, lo, hi)),
            _mm256_blendv_ps(y.b, x.b, lanes_between(8, lo, hi))};
}
INLINE __m256 pow2_8(__m256 n) {
    const __m256i e = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
    return _mm256_castsi256_ps(_mm256_slli_epi32(e, 23));
}
INLINE F f_pow2(F n) { return {pow2_8(n.a), pow2_8(n.b)}; }
INLINE F f_scale(F x, F n) { return f_mul(x, f_pow2(n)); }
INLINE float f_sum(F x) {  // lane l with l + 8, l + 4, l + 2, l + 1
    const __m256 h = _mm256_add_ps(x.a, x.b);
    const __m128 q = _mm_add_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
    const __m128 d = _mm_add_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_add_ss(d, _mm_shuffle_ps(d, d, 1)));
}
INLINE float f_hmax(F x) {
    const __m256 h = _mm256_max_ps(x.a, x.b);
    const __m128 q = _mm_max_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
    const __m128 d = _mm_max_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_max_ss(d, _mm_shuffle_ps(d, d, 1)));
}
INLINE __m128i load16(const uint8_t* p) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)); }
INLINE __m256i load32(const uint8_t* p) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
}
INLINE F f_load_f16(const uint8_t* p) {
    return {_mm256_cvtph_ps(load16(p)), _mm256_cvtph_ps(load16(p + 16))};
}
INLINE void f_store_f16(uint16_t* p, F x) {
    constexpr int mode = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph(x.a, mode));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p + 8), _mm256_cvtps_ph(x.b, mode));
}
INLINE __m256 bf16_8(__m128i h) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16));
}
INLINE F f_load_bf16(const uint8_t* p) { return {bf16_8(load16(p)), bf16_8(load16(p + 16))}; }
// rounded to BF16, ties to even
INLINE __m256 to_bf16_8(__m256 x) {
    const __m256i bits = _mm256_castps_si256(x);
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    const __m256i up = _mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7FFF)), odd);
    const __m256i kept = _mm256_and_si256(up, _mm256_set1_epi32(static_cast<int>(0xFFFF0000u)));
    return _mm256_blendv_ps(_mm256_castsi256_ps(kept), x, _mm256_cmp_ps(x, x, _CMP_UNORD_Q));
}
INLINE F f_to_bf16(F x) { return {to_bf16_8(x.a), to_bf16_8(x.b)}; }
INLINE __m256 e8m0_half_8(__m128i bytes) {
    const __m256i e = _mm256_cvtepu8_epi32(bytes);
    const __m256i normal = _mm256_slli_epi32(_mm256_sub_epi32(e, _mm256_set1_epi32(1)), 23);
    const __m256i tiny = _mm256_sllv_epi32(_mm256_set1_epi32(0x00200000), e);
    const __m256i small = _mm256_cmpgt_epi32(_mm256_set1_epi32(2), e);
    return _mm256_castsi256_ps(_mm256_blendv_epi8(normal, tiny, small));
}
INLINE F f_load_e8m0_half(const uint8_t* p) {  // 2^(e - 128), subnormal for e < 2
    const __m128i all = load16(p);
    return {e8m0_half_8(all), e8m0_half_8(_mm_srli_si128(all, 8))};
}
INLINE I i_set1(int32_t x) { return {_mm256_set1_epi32(x), _mm256_set1_epi32(x)}; }
INLINE F i_to_f(I x) { return {_mm256_cvtepi32_ps(x.a), _mm256_cvtepi32_ps(x.b)}; }
INLINE int32_t f_store_i8(int8_t* p, F integral) {  // returns the sum of the 16 integers
    const __m256i lo = _mm256_cvtps_epi32(integral.a), hi = _mm256_cvtps_epi32(integral.b);
    const __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(lo, hi), 0xD8);
    const __m128i bytes = _mm_packs_epi16(_mm256_castsi256_si128(words),
                                          _mm256_extracti128_si256(words, 1));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), bytes);
    const __m256i s = _mm256_add_epi32(lo, hi);
    __m128i t = _mm_add_epi32(_mm256_castsi256_si128(s), _mm256_extracti128_si256(s, 1));
    t = _mm_add_epi32(t, _mm_shuffle_epi32(t, 0x4E));
    return _mm_cvtsi128_si32(_mm_add_epi32(t, _mm_shuffle_epi32(t, 0xB1)));
}
INLINE B b_load(const uint8_t* p) { return {load32(p), load32(p + 32)}; }
INLINE B b_low(B x) {
    const __m256i m = _mm256_set1_epi8(15);
    return {_mm256_and_si256(x.a, m), _mm256_and_si256(x.b, m)};
}
INLINE B b_high(B x) { return b_low({_mm256_srli_epi16(x.a, 4), _mm256_srli_epi16(x.b, 4)}); }
INLINE B b_bias(B x) { return x; }  // signed weights stay signed here
INLINE B b_lookup(const uint8_t* table16, B codes) {
    const __m256i t = _mm256_broadcastsi128_si256(load16(table16));
    return {_mm256_shuffle_epi8(t, codes.a), _mm256_shuffle_epi8(t, codes.b)};
}
// codes, raised by 16 where bit 4 g + j of word r is set, for byte 4 r + j
INLINE __m256i or_fifth(__m256i codes, __m256i words, int g) {
    const __m256i spread = _mm256_add_epi8(
        _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 0, 0, 0, 4, 4, 4, 4, 8, 8, 8, 8, 12, 12, 12, 12)),
        _mm256_set1_epi8(static_cast<char>(g / 2)));
    const __m256i bits = _mm256_set1_epi32(g % 2 ? static_cast<int>(0x80402010u) : 0x08040201);
    const __m256i kept = _mm256_and_si256(_mm256_shuffle_epi8(words, spread), bits);
    const __m256i set = _mm256_cmpeq_epi8(kept, bits);
    return _mm256_or_si256(codes, _mm256_and_si256(set, _mm256_set1_epi8(16)));
}
INLINE B b_or_fifth(B codes, B words, int g) {
    return {or_fifth(codes.a, words.a, g), or_fifth(codes.b, words.b, g)};
}
// bits of each byte, moved right by `right` (left where negative), then masked
INLINE __m256i some_bits(__m256i x, int right, int mask) {
    const __m256i moved = right < 0 ? _mm256_slli_epi16(x, -right) : _mm256_srli_epi16(x, right);
    return _mm256_and_si256(moved, _mm256_set1_epi8(static_cast<char>(mask)));
}
INLINE B b_bits(B x, int right, int mask) {
    return {some_bits(x.a, right, mask), some_bits(x.b, right, mask)};
}
INLINE B b_or(B x, B y) { return {_mm256_or_si256(x.a, y.a), _mm256_or_si256(x.b, y.b)}; }
// 16 bytes as integers: unsigned, moved right and masked; or signed
INLINE __m256 bits_8(__m128i bytes, int right, int mask) {
    const __m256i moved = _mm256_srl_epi32(_mm256_cvtepu8_epi32(bytes), _mm_cvtsi32_si128(right));
    return _mm256_cvtepi32_ps(_mm256_and_si256(moved, _mm256_set1_epi32(mask)));
}
INLINE F f_load_bits(const uint8_t* p, int right, int mask) {
    const __m128i all = load16(p);
    return {bits_8(all, right, mask), bits_8(_mm_srli_si128(all, 8), right, mask)};
}
INLINE F f_load_i8(const uint8_t* p) {
    const __m128i all = load16(p);
    return {_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(all)),
            _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(all, 8)))};
}
INLINE __m256i four_columns(const int8_t* a) {
    int32_t word;
    __builtin_memcpy(&word, a, 4);
    return _mm256_set1_epi32(word);
}
INLINE __m256i madd(__m256i acc, __m256i u8, __m256i s8) {  // |u8 * s8| pairs must fit int16
    const __m256i pairs = _mm256_maddubs_epi16(u8, s8);
    return _mm256_add_epi32(acc, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}
INLINE I dot_u8(I acc, B w, const int8_t* a) {  // w <= 128, so that pairs fit int16
    const __m256i x = four_columns(a);
    return {madd(acc.a, w.a, x), madd(acc.b, w.b, x)};
}
INLINE I dot_s8(I acc, B w, const int8_t* a) {  // 128 * 127 * 2 < 2^15: exact
    const __m256i x = four_columns(a);
    return {madd(acc.a, _mm256_abs_epi8(w.a), _mm256_sign_epi8(x, w.a)),
            madd(acc.b, _mm256_abs_epi8(w.b), _mm256_sign_epi8(x, w.b))};
}
INLINE void prefetch(const void* p) { _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T0); }
INLINE void prefetch_l2(const void* p) { _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T1); }
