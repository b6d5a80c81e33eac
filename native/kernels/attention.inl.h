// Attention. Included inside a kernel namespace, after rows.inl.h.
//
// Flash attention (Dao et al. 2022) over pages of 64 absolute positions, folded in order. A score
// is an fma chain over head_dim; a page's maximum rescales what came before; values are added by
// fma position after position. A sink (gpt-oss) is the initial maximum with weight 1.
//
// A query is one head of one row. Up to 8 of them meet a page together, so that a key or value in a
// register serves them all, and a page serves every group of queries while it lies in the L1 cache.
// How queries are grouped changes no bits: each has its own chain of sums.

constexpr float kMinusInfinity = -__builtin_inff();
constexpr int kGroupQueries = 8;

struct KvF32 {
    static constexpr int kBytes = 4;
    INLINE static F load(const uint8_t* p) { return f_load(reinterpret_cast<const float*>(p)); }
};
struct KvF16 {
    static constexpr int kBytes = 2;
    INLINE static F load(const uint8_t* p) { return f_load_f16(p); }
};

void round_f16(const float* x, int64_t n, uint16_t* y) {
    for (int64_t i = 0; i < n; i += 16)
        f_store_f16(y + i, f_min(f_max(f_load(x + i), f_set1(-65504.0f)), f_set1(65504.0f)));
}

struct QueryGroup {
    alignas(64) float q[kMaxHeadDim][kGroupQueries];    // transposed
    alignas(64) float out[kGroupQueries][kMaxHeadDim];  // sums of weighted values so far
    F weight[kGroupQueries];  // lane-wise sum of exponentials
    float maximum[kGroupQueries];
    int64_t first[kGroupQueries], last[kGroupQueries];  // visible positions; none: last < first
    int count;
};

template <class Kv, int W>
INLINE void page_scores(const QueryGroup& g, const AttendArgs& a, const uint8_t* keys,
                        float (*scores)[kPageTokens]) {
    for (int half = 0; half < kPageTokens; half += 32) {
        F s[W][2];
#pragma GCC unroll 8
        for (int i = 0; i < W; ++i) s[i][0] = s[i][1] = f_zero();
        for (int k = 0; k < a.head_dim; ++k) {
            const uint8_t* key = keys + (k * kPageTokens + half) * Kv::kBytes;
            const F k0 = Kv::load(key), k1 = Kv::load(key + 16 * Kv::kBytes);
#pragma GCC unroll 8
            for (int i = 0; i < W; ++i) {
                const F query = f_set1(g.q[k][i]);
                s[i][0] = f_fma(query, k0, s[i][0]);
                s[i][1] = f_fma(query, k1, s[i][1]);
            }
        }
#pragma GCC unroll 8
        for (int i = 0; i < W; ++i) {
            f_store(scores[i] + half, f_mul(s[i][0], f_set1(a.scale)));
            f_store(scores[i] + half + 16, f_mul(s[i][1], f_set1(a.scale)));
        }
    }
}

// Turns scores of positions [lo, hi) of the page into weights; the others become 0. Returns what
// the sums so far are to be multiplied with.
INLINE float page_weights(float* scores, int lo, int hi, float& so_far, F& total) {
    F largest = f_set1(kMinusInfinity);
    for (int j = 0; j < kPageTokens; j += 16)
        largest = f_max(f_keep(f_load(scores + j), f_set1(kMinusInfinity), lo - j < 0 ? 0 : lo - j,
                               hi - j < 0 ? 0 : hi - j), largest);
    const float page_maximum = f_hmax(largest);
    const float maximum = page_maximum > so_far ? page_maximum : so_far;
    float correction[16];
    f_store(correction, f_exp(f_set1(so_far - maximum)));
    F weight = f_mul(total, f_set1(correction[0]));
    for (int j = 0; j < kPageTokens; j += 16) {
        const F e = f_exp(f_sub(f_load(scores + j), f_set1(maximum)));
        const F p = f_keep(e, f_zero(), lo - j < 0 ? 0 : lo - j, hi - j < 0 ? 0 : hi - j);
        f_store(scores + j, p);
        weight = f_add(weight, p);
    }
    so_far = maximum;
    total = weight;
    return correction[0];
}

// Positions [lo, hi): those that some query of the group sees.
template <class Kv, int W>
INLINE void page_values(QueryGroup& g, int head_dim, const uint8_t* values, int lo, int hi,
                        const float (*weights)[kPageTokens], const float* corrections) {
    for (int k = 0; k < head_dim; k += 32) {
        const bool two = k + 16 < head_dim;
        F o[W][2];
#pragma GCC unroll 8
        for (int i = 0; i < W; ++i) {
            o[i][0] = f_mul(f_load(g.out[i] + k), f_set1(corrections[i]));
            o[i][1] = f_mul(f_load(g.out[i] + k + 16), f_set1(corrections[i]));
        }
        for (int j = lo; j < hi; ++j) {
            const uint8_t* value = values + (j * head_dim + k) * Kv::kBytes;
            const F v0 = Kv::load(value);
            const F v1 = two ? Kv::load(value + 16 * Kv::kBytes) : f_zero();
#pragma GCC unroll 8
            for (int i = 0; i < W; ++i) {
                const F p = f_set1(weights[i][j]);
                o[i][0] = f_fma(p, v0, o[i][0]);
                o[i][1] = f_fma(p, v1, o[i][1]);
            }
        }
#pragma GCC unroll 8
        for (int i = 0; i < W; ++i) {
            f_store(g.out[i] + k, o[i][0]);
            f_store(g.out[i] + k + 16, o[i][1]);
        }
    }
}

template <class Kv, int W>
void attend_page(QueryGroup& g, const AttendArgs& a, const uint8_t* keys, const uint8_t* values,
                 int64_t start) {
    alignas(64) float scores[W][kPageTokens];
    float corrections[W];
    int from = kPageTokens, to = 0;
    page_scores<Kv, W>(g, a, keys, scores);
    for (int i = 0; i < W; ++i) {
        const int lo = g.first[i] > start ? static_cast<int>(g.first[i] - start) : 0;
        const int hi = g.last[i] - start < kPageTokens ? static_cast<int>(g.last[i] - start + 1) : kPageTokens;
        if (lo >= hi) {  // this query sees none of the page
            for (int j = 0; j < kPageTokens; j += 16) f_store(scores[i] + j, f_zero());
            corrections[i] = 1.0f;
            continue;
        }
        corrections[i] = page_weights(scores[i], lo, hi, g.maximum[i], g.weight[i]);
        from = lo < from ? lo : from;
        to = hi > to ? hi : to;
    }
    page_values<Kv, W>(g, a.head_dim, values, from, to, scores, corrections);
}

// Queries [first, first + count) of the rows' heads, row after row.
INLINE void open_group(QueryGroup& g, const AttendArgs& a, int first, int count) {
    g.count = count;
    for (int i = 0; i < kGroupQueries; ++i) {
        const int row = (first + i) / a.heads, head = (first + i) % a.heads;
        const bool real = i < count;
        const float* q = a.q + row * a.q_stride + head * a.head_dim;
        for (int k = 0; k < a.head_dim; ++k) g.q[k][i] = real ? q[k] : 0.0f;
        for (int k = 0; k < kMaxHeadDim && k < a.head_dim + 16; k += 16) f_store(g.out[i] + k, f_zero());
        g.last[i] = real ? a.last + row : -1;
        g.first[i] = a.window && g.last[i] >= a.window ? g.last[i] - a.window + 1 : 0;
        g.maximum[i] = kMinusInfinity;
        g.weight[i] = f_zero();
        if (real && a.sinks) {
            g.maximum[i] = a.sinks[head];
            g.weight[i] = f_keep(f_set1(1.0f), f_zero(), 0, 1);
        }
    }
}

INLINE void close_group(const QueryGroup& g, const AttendArgs& a, int first) {
    for (int i = 0; i < g.count; ++i) {
        const int row = (first + i) / a.heads, head = (first + i) % a.heads;
        const F inverse = f_set1(1.0f / f_sum(g.weight[i]));
        float* out = a.out + row * a.out_stride + head * a.head_dim;
        for (int k = 0; k < a.head_dim; k += 16) f_store(out + k, f_mul(f_load(g.out[i] + k), inverse));
    }
}

template <class Kv>
void attend(const AttendArgs& a) {
    constexpr int kGroupsTogether = 8;
    QueryGroup groups[kGroupsTogether];
    const int queries = a.num_rows * a.heads;
    for (int begin = 0; begin < queries; begin += kGroupsTogether * kGroupQueries) {
        const int here = queries - begin < kGroupsTogether * kGroupQueries
                             ? queries - begin : kGroupsTogether * kGroupQueries;
        const int num_groups = (here + kGroupQueries - 1) / kGroupQueries;
        for (int i = 0; i < num_groups; ++i) {
            const int first = i * kGroupQueries;
            open_group(groups[i], a, begin + first, here - first < kGroupQueries ? here - first : kGroupQueries);
        }
        const int64_t low = groups[0].first[0];
        const QueryGroup& end = groups[num_groups - 1];
        for (int64_t page = low / kPageTokens; page <= end.last[end.count - 1] / kPageTokens; ++page) {
            const int64_t offset = a.pages[page] * a.page_stride, start = page * kPageTokens;
            const uint8_t* keys = a.keys + offset;
            const uint8_t* values = a.values + offset;
            for (int i = 0; i < num_groups; ++i) {
                QueryGroup& g = groups[i];
                if (g.last[g.count - 1] < start || g.first[0] >= start + kPageTokens) continue;
                if (g.count > 4) attend_page<Kv, 8>(g, a, keys, values, start);
                else if (g.count > 2) attend_page<Kv, 4>(g, a, keys, values, start);
                else if (g.count == 2) attend_page<Kv, 2>(g, a, keys, values, start);
                else attend_page<Kv, 1>(g, a, keys, values, start);
            }
        }
        for (int i = 0; i < num_groups; ++i) close_group(groups[i], a, begin + i * kGroupQueries);
    }
}
