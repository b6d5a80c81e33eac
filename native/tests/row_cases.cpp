// Cases of the kernels that take rows: norms, quantizing, activations, routing.
#include <cmath>

#include "cases.h"

namespace ingle::test {
namespace {

std::string named(const char* kernel, Data data, int64_t n) {
    return std::string(kernel) + " data " + std::to_string(static_cast<int>(data)) + " n " + std::to_string(n);
}

void norm_cases(Comparison& comparison, Random& random, Data data, int64_t n) {
    Guarded<float> x(n), weight(n), bias(n), ours(n), generic(n);
    fill(random, data, x);
    fill(random, Data::Usual, weight);
    fill(random, Data::Usual, bias);
    comparison.kernels.rms_norm(x.data(), weight.data(), n, 1e-5f, ours.data());
    kernels_generic().rms_norm(x.data(), weight.data(), n, 1e-5f, generic.data());
    comparison.expect(named("rms_norm", data, n), ours, generic);
    comparison.kernels.layer_norm(x.data(), weight.data(), bias.data(), n, 1e-5f, ours.data());
    kernels_generic().layer_norm(x.data(), weight.data(), bias.data(), n, 1e-5f, generic.data());
    comparison.expect(named("layer_norm", data, n), ours, generic);
}

struct Quantized {
    Guarded<int8_t> q;
    Guarded<float> d, ds;
    Guarded<int32_t> sum;
    explicit Quantized(int64_t n) : q(n), d(n / kBlock), ds(n / kBlock), sum(n / kBlock) {}
};

void quantize_case(Comparison& comparison, const std::string& what, Guarded<float>& x) {
    const int64_t n = x.size();
    Quantized ours(n), generic(n);
    comparison.kernels.quantize_row(x.data(), n, ours.q.data(), ours.d.data(), ours.ds.data(), ours.sum.data());
    kernels_generic().quantize_row(x.data(), n, generic.q.data(), generic.d.data(), generic.ds.data(),
                                   generic.sum.data());
    comparison.expect(what + " q", ours.q, generic.q);
    comparison.expect(what + " d", ours.d, generic.d);
    comparison.expect(what + " ds", ours.ds, generic.ds);
    comparison.expect(what + " sum", ours.sum, generic.sum);
}

void quantize_cases(Comparison& comparison, Random& random, Data data, int64_t n) {
    Guarded<float> x(n);
    fill(random, data, x);
    for (int64_t i = 0; i < n && data == Data::Usual; i += 2)  // halves of a step, to be rounded to even
        x[i] = static_cast<float>(random.below(255) - 127) * 0.5f;
    for (int64_t b = 0; b < n && data == Data::Usual; b += kBlock) x[b] = 127.0f;
    quantize_case(comparison, named("quantize_row", data, n), x);
}

// Blocks around the smallest whose reciprocal is finite, and down to the smallest subnormal.
void tiny_quantize_cases(Comparison& comparison) {
    constexpr int kExponents = 32;
    Guarded<float> x(kExponents * kBlock);
    for (int64_t i = 0; i < x.size(); ++i) {
        const float largest = std::ldexp(1.0f, -118 - static_cast<int>(i / kBlock));
        x[i] = i % kBlock == 7 ? -largest : largest * static_cast<float>(i % kBlock) / 32.0f;
    }
    quantize_case(comparison, "quantize_row of tiny rows", x);
}

void activation_cases(Comparison& comparison, Random& random, Data data, int64_t n) {
    Guarded<float> gate(n), up(n), ours(n), generic(n);
    fill(random, data, gate);
    fill(random, data, up);
    for (int64_t i = 0; i < n && data == Data::Usual; ++i) gate[i] *= 25.0f;  // past both ends of e^x
    for (int a = 0; a < static_cast<int>(Activation::Count); ++a) {
        const bool gated = a != static_cast<int>(Activation::GeluTanh);
        comparison.kernels.activate[a](gated ? gate.data() : nullptr, up.data(), n, ours.data());
        kernels_generic().activate[a](gated ? gate.data() : nullptr, up.data(), n, generic.data());
        comparison.expect(named("activate", data, n) + " activation " + std::to_string(a), ours, generic);
    }
    fill(random, data, ours);
    std::memcpy(generic.data(), ours.data(), static_cast<size_t>(n) * sizeof(float));
    const float weight = random.uniform();
    comparison.kernels.add_weighted(weight, up.data(), n, ours.data());
    kernels_generic().add_weighted(weight, up.data(), n, generic.data());
    comparison.expect(named("add_weighted", data, n), ours, generic);
}

void route_cases(Comparison& comparison, Random& random, Data data, int experts, int ranks) {
    Guarded<float> logits(experts), our_weights(ranks), weights(ranks);
    Guarded<int32_t> our_ids(ranks), ids(ranks);
    fill(random, data, logits);
    for (int e = 1; e < experts; e += 3) logits[e] = logits[e - 1];  // ties
    for (const Routing routing : {Routing::SoftmaxOfTopK, Routing::TopKOfSoftmax})
        for (const bool renormalize : {false, true}) {
            const auto run = [&](const Kernels& k, Guarded<int32_t>& i, Guarded<float>& w) {
                k.route({logits.data(), experts, ranks, routing, renormalize, i.data(), w.data()});
            };
            run(comparison.kernels, our_ids, our_weights);
            run(kernels_generic(), ids, weights);
            const std::string what = named("route", data, experts) + " ranks " + std::to_string(ranks);
            comparison.expect(what + " ids", our_ids, ids);
            comparison.expect(what + " weights", our_weights, weights);
        }
}

}  // namespace

void row_cases(Comparison& comparison) {
    Random random(2);
    tiny_quantize_cases(comparison);
    for (const Data data : kData) {
        for (const int64_t n : {1, 5, 15, 16, 17, 31, 32, 33, 64, 127, 576, 2880})
            norm_cases(comparison, random, data, n);
        for (const int64_t n : {32, 64, 96, 576, 2880}) quantize_cases(comparison, random, data, n);
        for (const int64_t n : {16, 32, 48, 576, 2880}) activation_cases(comparison, random, data, n);
        for (const int experts : {1, 4, 16, 33, 128, kMaxExperts})
            for (const int ranks : {1, 4, 17})
                if (ranks <= experts) route_cases(comparison, random, data, experts, ranks);
    }
}

}  // namespace ingle::test
