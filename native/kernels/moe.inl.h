// Routing and summing of experts. Included inside a kernel namespace, after rows.inl.h.

void add_weighted(float weight, const float* y, int64_t n, float* total) {
    for (int64_t i = 0; i < n; i += 16)
        f_store(total + i, f_fma(f_set1(weight), f_load(y + i), f_load(total + i)));
}

// e[i] = e^(x[i] - shift); returns the sum, lane by lane
INLINE float shifted_exp(const float* x, int n, float shift, float* e) {
    F sum = f_zero();
    for (int i = 0; i < n; i += 16) {
        float padded[16] = {};
        for (int j = 0; j < 16 && i + j < n; ++j) padded[j] = x[i + j];
        const F y = f_keep(f_exp(f_sub(f_load(padded), f_set1(shift))), f_zero(), 0, n - i);
        f_store(padded, y);
        for (int j = 0; j < 16 && i + j < n; ++j) e[i + j] = padded[j];
        sum = f_add(sum, y);
    }
    return f_sum(sum);
}

void route(const RouteArgs& a) {
    bool taken[kMaxExperts] = {};
    float chosen[kMaxExperts], scratch[kMaxExperts];
    for (int rank = 0; rank < a.ranks; ++rank) {
        int best = -1;
        for (int e = 0; e < a.num_experts; ++e)
            if (!taken[e] && (best < 0 || a.logits[e] > a.logits[best])) best = e;
        taken[best] = true;
        a.ids[rank] = best;
        chosen[rank] = a.logits[best];
    }
    shifted_exp(chosen, a.ranks, chosen[0], a.weights);
    if (a.routing == Routing::TopKOfSoftmax) {
        const float all = shifted_exp(a.logits, a.num_experts, chosen[0], scratch);
        for (int rank = 0; rank < a.ranks; ++rank) a.weights[rank] /= all;
        if (!a.renormalize) return;
    }
    float total = a.weights[0];
    for (int rank = 1; rank < a.ranks; ++rank) total += a.weights[rank];
    for (int rank = 0; rank < a.ranks; ++rank) a.weights[rank] /= total;
}
