// Attention. Included inside a kernel namespace, after rows.inl.h.
//
// Flash attention (Dao et al. 2022) over pages of 64 absolute positions. A score is an fma chain over
// head_dim, in units of log 2; a page's maximum rescales what came before; values are added by fma
// position after position. Every span of pages (kernels.h) begins anew and is folded into those
// before it, the first into the sink (gpt-oss) or nothing, so that threads may share a long context.
//
// A query is one head of one row. Up to 8 of them meet a page together, so that a key or value in a
// register serves them all, and a page serves every group of queries while it lies in the L1 cache.
// How queries are grouped changes no bits: each has its own chain of sums.

constexpr float kNoMaximum = -0x1.fffffep127f;  // finite: it may be subtracted from itself
constexpr float kLog2E = 1.44269504f;
constexpr int kGroupQueries = 8;
constexpr int kGroupsTogether = 8;

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

// 2^x for x <= 0: 1 at 0, 0 below -126. A polynomial of degree 5, fitted to the relative error on
// [-1/2, 1/2]: 1.6e-7 with its roundings.
INLINE F f_exp2(F x) {
    const F n = f_round(f_max(x, f_set1(-126.0f)));
    const F r = f_sub(f_max(x, f_set1(-126.0f)), n);
    F p = f_set1(0x1.5bba0ep-10f);
    p = f_fma(p, r, f_set1(0x1.3cea94p-7f));
    p = f_fma(p, r, f_set1(0x1.c6b754p-5f));
    p = f_fma(p, r, f_set1(0x1.ebf9bcp-3f));
    p = f_fma(p, r, f_set1(0x1.62e42ap-1f));
    p = f_fma(p, r, f_set1(1.0f));
    return f_where_lt(x, f_set1(-126.0f), f_zero(), f_scale(p, n));
}

// Of each query: sums of weighted values, lane-wise sums of weights, the largest score. Rows of sums
// are head_dim apart: a rounder distance would put them all into the same sets of the cache.
struct QueryGroup {
    alignas(64) float q[kMaxHeadDim * kGroupQueries];  // (head_dim, 8), times scale and log2(e)
    alignas(64) float out[kGroupQueries * kMaxHeadDim];
    F weight[kGroupQueries];
    alignas(64) float maximum[16];
    alignas(64) float folded_out[kGroupQueries * kMaxHeadDim];  // of the spans before
    alignas(64) float folded_weight[16], folded_maximum[16];
    int64_t first[kGroupQueries], last[kGroupQueries];  // visible positions; none: last < first
    int64_t common_first, common_last;                  // those that every query sees
    int count;
};

template <int Bytes>
INLINE void ask(const uint8_t* p) {  // into the L1 cache, where a page is read several times
    for (int line = 0; line < Bytes; line += 64) __builtin_prefetch(p + line);
}

// Scores of T queries at V times 16 positions. ahead: bytes to what will be asked for next.
template <class Kv, int T, int V>
INLINE void score_tile(const float* q, int head_dim, const uint8_t* keys, int64_t ahead, float* scores) {
    F s[T][V];
#pragma GCC unroll 8
    for (int i = 0; i < T; ++i)
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) s[i][v] = f_zero();
    for (int k = 0; k < head_dim; ++k) {
        F key[V];
        ask<V * 16 * Kv::kBytes>(keys + ahead);
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) key[v] = Kv::load(keys + v * 16 * Kv::kBytes);
#pragma GCC unroll 8
        for (int i = 0; i < T; ++i) {
            const F query = f_set1(q[k * kGroupQueries + i]);
#pragma GCC unroll 4
            for (int v = 0; v < V; ++v) s[i][v] = f_fma(query, key[v], s[i][v]);
        }
        keys += kPageTokens * Kv::kBytes;
    }
#pragma GCC unroll 8
    for (int i = 0; i < T; ++i)
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) f_store(scores + i * kPageTokens + v * 16, s[i][v]);
}

// Hides what a query does not see: such positions get minus infinity. Returns those it sees.
struct Range {
    int from, to;
};
INLINE Range hide(float* scores, int64_t first, int64_t last, int64_t start) {
    const int64_t begin = first - start, end = last - start + 1;
    const int from = begin <= 0 ? 0 : begin < kPageTokens ? static_cast<int>(begin) : kPageTokens;
    const int to = end <= 0 ? 0 : end < kPageTokens ? static_cast<int>(end) : kPageTokens;
    for (int j = 0; j < kPageTokens; j += 16)
        f_store(scores + j, f_keep(f_load(scores + j), f_set1(-__builtin_inff()), from > j ? from - j : 0,
                                   to > j ? to - j : 0));
    return {from, to};
}

// Scores become weights, 0 where a query does not see; corrections are what its sums so far are to
// be multiplied with. Returns the positions that some query sees.
template <int W>
INLINE Range page_weights(QueryGroup& g, int64_t start, float* scores, float* corrections) {
    Range seen{0, kPageTokens};
    if (g.common_first > start || g.common_last < start + kPageTokens - 1) {
        seen = {kPageTokens, 0};
        for (int i = 0; i < W; ++i) {
            const Range mine = hide(scores + i * kPageTokens, g.first[i], g.last[i], start);
            if (mine.from >= mine.to) continue;
            seen.from = mine.from < seen.from ? mine.from : seen.from;
            seen.to = mine.to > seen.to ? mine.to : seen.to;
        }
    }
    alignas(64) float largest[16];
    const F before = f_load(g.maximum);
    f_store(largest, before);
    for (int i = 0; i < W; ++i) {
        const float* s = scores + i * kPageTokens;
        largest[i] = f_hmax(f_max(f_max(f_load(s), f_load(s + 16)), f_max(f_load(s + 32), f_load(s + 48))));
    }
    const F maximum = f_max(f_load(largest), before);
    f_store(g.maximum, maximum);
    f_store(corrections, f_exp2(f_sub(before, maximum)));
    for (int i = 0; i < W; ++i) {
        float* s = scores + i * kPageTokens;
        F weight = f_mul(g.weight[i], f_set1(corrections[i])), p[kPageTokens / 16];
#pragma GCC unroll 4
        for (int v = 0; v < kPageTokens / 16; ++v) {
            p[v] = f_exp2(f_sub(f_load(s + v * 16), f_set1(g.maximum[i])));
            f_store(s + v * 16, p[v]);
        }
#pragma GCC unroll 4
        for (int v = 0; v < kPageTokens / 16; ++v) weight = f_add(weight, p[v]);
        g.weight[i] = weight;
    }
    return seen;
}

// Sums of T queries in V times 16 columns, over the positions `seen`.
template <class Kv, int T, int V>
INLINE void value_tile(float* out, int head_dim, const uint8_t* values, int64_t ahead, Range seen,
                       const float* weights, const float* corrections) {
    F o[T][V];
#pragma GCC unroll 8
    for (int i = 0; i < T; ++i)
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v)
            o[i][v] = f_mul(f_load(out + i * head_dim + v * 16), f_set1(corrections[i]));
    values += int64_t{seen.from} * head_dim * Kv::kBytes;
    for (int j = seen.from; j < seen.to; ++j) {
        F value[V];
        ask<V * 16 * Kv::kBytes>(values + ahead);
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) value[v] = Kv::load(values + v * 16 * Kv::kBytes);
#pragma GCC unroll 8
        for (int i = 0; i < T; ++i) {
            const F p = f_set1(weights[i * kPageTokens + j]);
#pragma GCC unroll 4
            for (int v = 0; v < V; ++v) o[i][v] = f_fma(p, value[v], o[i][v]);
        }
        values += head_dim * Kv::kBytes;
    }
#pragma GCC unroll 8
    for (int i = 0; i < T; ++i)
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) f_store(out + i * head_dim + v * 16, o[i][v]);
}

template <class Kv, int W>
void attend_page(QueryGroup& g, int head_dim, const uint8_t* keys, const uint8_t* values, int64_t ahead,
                 int64_t start) {
    constexpr int T = W < kTileQueries ? W : kTileQueries, V = kTileVectors;
    alignas(64) float scores[W * kPageTokens];
    alignas(64) float corrections[16];
    for (int j = 0; j < kPageTokens; j += 16 * V)
        for (int i = 0; i < W; i += T)
            score_tile<Kv, T, V>(g.q + i, head_dim, keys + j * Kv::kBytes, ahead, scores + i * kPageTokens + j);
    const Range seen = page_weights<W>(g, start, scores, corrections);
    int k = 0;
    for (; k + 16 * V <= head_dim; k += 16 * V)
        for (int i = 0; i < W; i += T)
            value_tile<Kv, T, V>(g.out + i * head_dim + k, head_dim, values + k * Kv::kBytes, ahead, seen,
                                 scores + i * kPageTokens, corrections + i);
    for (; k < head_dim; k += 16)
        for (int i = 0; i < W; i += T)
            value_tile<Kv, T, 1>(g.out + i * head_dim + k, head_dim, values + k * Kv::kBytes, ahead, seen,
                                 scores + i * kPageTokens, corrections + i);
}

INLINE void begin_span(QueryGroup& g, int head_dim) {
    for (int k = 0; k < kGroupQueries * head_dim; k += 16) f_store(g.out + k, f_zero());
    for (F& weight : g.weight) weight = f_zero();
    f_store(g.maximum, f_set1(kNoMaximum));
}

// Adds a span to those before it; one that a query sees nothing of changes no bit.
INLINE void fold_span(QueryGroup& g, int head_dim, const float* weights) {
    const F before = f_load(g.folded_maximum), here = f_load(g.maximum), maximum = f_max(here, before);
    const F old_share = f_exp2(f_sub(before, maximum)), share = f_exp2(f_sub(here, maximum));
    alignas(64) float shares[2][16];
    f_store(shares[0], old_share);
    f_store(shares[1], share);
    f_store(g.folded_maximum, maximum);
    f_store(g.folded_weight, f_fma(f_load(weights), share, f_mul(f_load(g.folded_weight), old_share)));
    for (int i = 0; i < g.count; ++i)
        for (int k = i * head_dim; k < (i + 1) * head_dim; k += 16)
            f_store(g.folded_out + k, f_fma(f_load(g.out + k), f_set1(shares[1][i]),
                                            f_mul(f_load(g.folded_out + k), f_set1(shares[0][i]))));
}

INLINE void end_span(QueryGroup& g, int head_dim) {
    alignas(64) float weights[16] = {};
    for (int i = 0; i < g.count; ++i) weights[i] = f_sum(g.weight[i]);
    fold_span(g, head_dim, weights);
}

// Queries [first, first + count) of the rows' heads, row after row.
INLINE void open_group(QueryGroup& g, const AttendArgs& a, int first, int count) {
    g.count = count;
    g.common_first = 0;
    g.common_last = a.last + a.num_rows;
    f_store(g.folded_maximum, f_set1(kNoMaximum));
    f_store(g.folded_weight, f_zero());
    for (int k = 0; k < kGroupQueries * a.head_dim; k += 16) f_store(g.folded_out + k, f_zero());
    for (int i = 0; i < kGroupQueries; ++i) {
        const int row = (first + i) / a.heads, head = (first + i) % a.heads;
        const bool real = i < count;
        const float* q = a.q + row * a.q_stride + head * a.head_dim;
        for (int k = 0; k < a.head_dim; ++k) g.q[k * kGroupQueries + i] = real ? q[k] * (a.scale * kLog2E) : 0.0f;
        g.last[i] = real ? a.last + row : -1;
        g.first[i] = a.window && g.last[i] >= a.window ? g.last[i] - a.window + 1 : 0;
        if (!real) continue;
        g.common_first = g.first[i] > g.common_first ? g.first[i] : g.common_first;
        g.common_last = g.last[i] < g.common_last ? g.last[i] : g.common_last;
        if (!a.sinks) continue;
        g.folded_maximum[i] = a.sinks[head] * kLog2E;
        g.folded_weight[i] = 1.0f;
    }
    begin_span(g, a.head_dim);
}

INLINE void close_group(const QueryGroup& g, const AttendArgs& a, int first) {
    for (int i = 0; i < g.count; ++i) {
        const int row = (first + i) / a.heads, head = (first + i) % a.heads;
        const F inverse = f_set1(1.0f / g.folded_weight[i]);
        float* out = a.out + row * a.out_stride + head * a.head_dim;
        for (int k = 0; k < a.head_dim; k += 16)
            f_store(out + k, f_mul(f_load(g.folded_out + i * a.head_dim + k), inverse));
    }
}

INLINE int open_groups(QueryGroup* groups, const AttendArgs& a, int begin) {
    const int queries = a.num_rows * a.heads, most = kGroupsTogether * kGroupQueries;
    const int here = queries - begin < most ? queries - begin : most;
    for (int first = 0; first < here; first += kGroupQueries)
        open_group(groups[first / kGroupQueries], a, begin + first,
                   here - first < kGroupQueries ? here - first : kGroupQueries);
    return (here + kGroupQueries - 1) / kGroupQueries;
}

// Pages [page, end) of one span, for all groups of it.
template <class Kv>
INLINE void attend_pages(QueryGroup* groups, int num_groups, const AttendArgs& a, int64_t page, int64_t end) {
    for (; page < end; ++page) {
        const int64_t offset = a.pages[page] * a.page_stride, start = page * kPageTokens;
        const int64_t to_next = page + 1 < end ? a.pages[page + 1] * a.page_stride - offset : 0;
        for (int i = 0; i < num_groups; ++i) {
            QueryGroup& g = groups[i];
            if (g.last[g.count - 1] < start || g.first[0] >= start + kPageTokens) continue;
            const auto meet = g.count > 4 ? attend_page<Kv, 8> : g.count == 4 ? attend_page<Kv, 4>
                              : g.count == 3 ? attend_page<Kv, 3> : g.count == 2 ? attend_page<Kv, 2>
                              : attend_page<Kv, 1>;
            // The last group asks for the next page while it works on this one.
            meet(g, a.head_dim, a.keys + offset, a.values + offset, i + 1 < num_groups ? 0 : to_next, start);
        }
    }
}

template <class Kv>
void attend(const AttendArgs& a) {
    QueryGroup groups[kGroupsTogether];
    const int queries = a.num_rows * a.heads;
    for (int begin = 0; begin < queries; begin += kGroupsTogether * kGroupQueries) {
        const int num_groups = open_groups(groups, a, begin);
        const QueryGroup& last = groups[num_groups - 1];
        const int64_t end = last.last[last.count - 1] / kPageTokens + 1;
        for (int64_t page = groups[0].first[0] / kPageTokens; page < end;) {
            const int64_t span_end = span_last_page(page) + 1, stop = span_end < end ? span_end : end;
            attend_pages<Kv>(groups, num_groups, a, page, stop);
            page = stop;
            for (int i = 0; i < num_groups; ++i) {
                end_span(groups[i], a.head_dim);
                if (page < end) begin_span(groups[i], a.head_dim);
            }
        }
        for (int i = 0; i < num_groups; ++i) close_group(groups[i], a, begin + i * kGroupQueries);
    }
}

// One span of one row, up to its last position: each head's state, kSpanState(head_dim) floats apart.
template <class Kv>
void attend_span(const AttendArgs& a, int64_t page, float* states) {
    QueryGroup g;
    const int64_t last = a.last / kPageTokens, span_end = span_last_page(page);
    for (int first = 0; first < a.heads; first += kGroupQueries) {
        open_group(g, a, first, a.heads - first < kGroupQueries ? a.heads - first : kGroupQueries);
        attend_pages<Kv>(&g, 1, a, page, (span_end < last ? span_end : last) + 1);
        for (int i = 0; i < g.count; ++i) {
            float* state = states + (first + i) * span_state(a.head_dim);
            for (int k = 0; k < a.head_dim; k += 16) f_store(state + k, f_load(g.out + i * a.head_dim + k));
            state[a.head_dim] = f_sum(g.weight[i]);
            state[a.head_dim + 1] = g.maximum[i];
        }
    }
}

// What `attend` gives for one row, from the states of its spans, `stride` floats apart.
void fold_spans(const AttendArgs& a, const float* states, int64_t num_spans, int64_t stride) {
    QueryGroup g;
    alignas(64) float weights[16] = {};
    for (int first = 0; first < a.heads; first += kGroupQueries) {
        open_group(g, a, first, a.heads - first < kGroupQueries ? a.heads - first : kGroupQueries);
        for (int64_t span = 0; span < num_spans; ++span) {
            for (int i = 0; i < g.count; ++i) {
                const float* state = states + span * stride + (first + i) * span_state(a.head_dim);
                for (int k = 0; k < a.head_dim; k += 16) f_store(g.out + i * a.head_dim + k, f_load(state + k));
                weights[i] = state[a.head_dim];
                g.maximum[i] = state[a.head_dim + 1];
            }
            fold_span(g, a.head_dim, weights);
        }
        close_group(g, a, first);
    }
}
