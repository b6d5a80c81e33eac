// Attention. Included inside a kernel namespace, after rows.inl.h.
//
// Flash attention (Dao et al. 2022) over pages of 64 absolute positions, folded in order. A score
// is an fma chain over head_dim; a page's maximum rescales what came before; values are added by
// fma position after position. A sink (gpt-oss) is the initial maximum with weight 1.

constexpr int kHeadChunk = 4;  // query heads whose score chains run side by side
constexpr float kMinusInfinity = -__builtin_inff();

struct Fold {
    float maximum;
    F weight;  // lane-wise sum of exponentials
};

template <int H>
INLINE void page_scores(const AttendArgs& a, int head, const float* keys, float (*scores)[kPageTokens]) {
    const float* q = a.q + head * a.head_dim;
    for (int half = 0; half < kPageTokens; half += 32) {
        F s[H][2];
#pragma GCC unroll 4
        for (int h = 0; h < H; ++h) s[h][0] = s[h][1] = f_zero();
        for (int k = 0; k < a.head_dim; ++k) {
            const F k0 = f_load(keys + k * kPageTokens + half);
            const F k1 = f_load(keys + k * kPageTokens + half + 16);
#pragma GCC unroll 4
            for (int h = 0; h < H; ++h) {
                const F query = f_set1(q[h * a.head_dim + k]);
                s[h][0] = f_fma(query, k0, s[h][0]);
                s[h][1] = f_fma(query, k1, s[h][1]);
            }
        }
#pragma GCC unroll 4
        for (int h = 0; h < H; ++h) {
            f_store(scores[h] + half, f_mul(s[h][0], f_set1(a.scale)));
            f_store(scores[h] + half + 16, f_mul(s[h][1], f_set1(a.scale)));
        }
    }
}

// Turns scores of positions [lo, hi) of the page into weights; the others become 0.
INLINE float page_weights(float* scores, int lo, int hi, Fold& fold) {
    F largest = f_set1(kMinusInfinity);
    for (int j = 0; j < kPageTokens; j += 16)
        largest = f_max(f_keep(f_load(scores + j), f_set1(kMinusInfinity), lo - j < 0 ? 0 : lo - j,
                               hi - j < 0 ? 0 : hi - j), largest);
    const float page_maximum = f_hmax(largest);
    const float maximum = page_maximum > fold.maximum ? page_maximum : fold.maximum;
    float correction[16];
    f_store(correction, f_exp(f_set1(fold.maximum - maximum)));
    F weight = f_mul(fold.weight, f_set1(correction[0]));
    for (int j = 0; j < kPageTokens; j += 16) {
        const F e = f_exp(f_sub(f_load(scores + j), f_set1(maximum)));
        const F p = f_keep(e, f_zero(), lo - j < 0 ? 0 : lo - j, hi - j < 0 ? 0 : hi - j);
        f_store(scores + j, p);
        weight = f_add(weight, p);
    }
    fold = {maximum, weight};
    return correction[0];
}

template <int H>
INLINE void page_values(const AttendArgs& a, int head, const float* values, int lo, int hi,
                        const float (*weights)[kPageTokens], const float* corrections) {
    for (int k = 0; k < a.head_dim; k += 32) {
        const bool two = k + 16 < a.head_dim;
        F o[H][2];
#pragma GCC unroll 4
        for (int h = 0; h < H; ++h) {
            const float* out = a.out + (head + h) * a.head_dim + k;
            o[h][0] = f_mul(f_load(out), f_set1(corrections[h]));
            if (two) o[h][1] = f_mul(f_load(out + 16), f_set1(corrections[h]));
            else o[h][1] = f_zero();
        }
        for (int j = lo; j < hi; ++j) {
            const F v0 = f_load(values + j * a.head_dim + k);
            const F v1 = two ? f_load(values + j * a.head_dim + k + 16) : f_zero();
#pragma GCC unroll 4
            for (int h = 0; h < H; ++h) {
                const F p = f_set1(weights[h][j]);
                o[h][0] = f_fma(p, v0, o[h][0]);
                o[h][1] = f_fma(p, v1, o[h][1]);
            }
        }
#pragma GCC unroll 4
        for (int h = 0; h < H; ++h) {
            float* out = a.out + (head + h) * a.head_dim + k;
            f_store(out, o[h][0]);
            if (two) f_store(out + 16, o[h][1]);
        }
    }
}

template <int H>
void attend_heads(const AttendArgs& a, int head) {
    alignas(64) float scores[H][kPageTokens];
    Fold fold[H];
    for (int h = 0; h < H; ++h) {
        fold[h] = {kMinusInfinity, f_zero()};
        if (a.sinks) fold[h] = {a.sinks[head + h], f_keep(f_set1(1.0f), f_zero(), 0, 1)};
        for (int k = 0; k < a.head_dim; k += 16) f_store(a.out + (head + h) * a.head_dim + k, f_zero());
    }
    for (int64_t page = a.first / kPageTokens; page <= a.last / kPageTokens; ++page) {
        const int64_t start = page * kPageTokens;
        const int lo = a.first > start ? static_cast<int>(a.first - start) : 0;
        const int hi = a.last - start < kPageTokens ? static_cast<int>(a.last - start + 1) : kPageTokens;
        const int64_t offset = a.pages[page] * a.page_stride;
        page_scores<H>(a, head, a.keys + offset, scores);
        float corrections[H];
        for (int h = 0; h < H; ++h) corrections[h] = page_weights(scores[h], lo, hi, fold[h]);
        page_values<H>(a, head, a.values + offset, lo, hi, scores, corrections);
    }
    for (int h = 0; h < H; ++h) {
        const F inverse = f_set1(1.0f / f_sum(fold[h].weight));
        float* out = a.out + (head + h) * a.head_dim;
        for (int k = 0; k < a.head_dim; k += 16) f_store(out + k, f_mul(f_load(out + k), inverse));
    }
}

void attend(const AttendArgs& a) {
    int head = 0;
    for (; head + kHeadChunk <= a.heads; head += kHeadChunk) attend_heads<kHeadChunk>(a, head);
    if (a.heads - head == 3) attend_heads<3>(a, head);
    else if (a.heads - head == 2) attend_heads<2>(a, head);
    else if (a.heads - head == 1) attend_heads<1>(a, head);
}
