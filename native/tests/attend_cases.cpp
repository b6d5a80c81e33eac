// Cases of attention: sizes of heads, rows, positions, windows and sinks, over pages in any order.
#include "cases.h"

namespace ingle::test {
namespace {

float float_of(uint32_t bits) {
    float x;
    std::memcpy(&x, &bits, 4);
    return x;
}

void fill_kv(Random& random, Data data, Guarded<float>& values) { fill(random, data, values); }
void fill_kv(Random& random, Data data, Guarded<uint16_t>& values) {
    Guarded<float> floats((values.size() + 15) / 16 * 16);
    Guarded<uint16_t> halves(floats.size());
    fill(random, data, floats);
    kernels_generic().round_f16(floats.data(), floats.size(), halves.data());
    std::memcpy(values.data(), halves.data(), static_cast<size_t>(values.size()) * 2);
}

constexpr int kPages = 5;

struct Shape {
    int heads, head_dim, rows;
    int64_t last, window;
    bool sinks;
};

std::string named(const Shape& s, Data data) {
    return "attend heads " + std::to_string(s.heads) + " head_dim " + std::to_string(s.head_dim) + " rows " +
           std::to_string(s.rows) + " last " + std::to_string(s.last) + " window " +
           std::to_string(s.window) + (s.sinks ? " sinks" : "") + " data " +
           std::to_string(static_cast<int>(data));
}

// Pages of numbers as `type` keeps them; the last ends where memory does.
template <class T>
void attend_case(Comparison& comparison, Random& random, const Shape& s, Data data, KvType type) {
    const int64_t row = s.heads * s.head_dim, stride = row + 7;
    const int64_t page_stride = int64_t{kPageTokens} * s.head_dim + 16;
    Guarded<float> q(s.rows * stride - 7), sinks(s.heads);
    Guarded<T> keys(kPages * page_stride - 16), values(kPages * page_stride - 16);
    Guarded<float> ours(q.size()), generic(q.size());
    Guarded<int32_t> pages(s.last / kPageTokens + 2);
    for (int64_t i = 0; i < pages.size(); ++i) pages[i] = static_cast<int32_t>((3 * i + 2) % kPages);
    fill(random, data, q);
    fill_kv(random, data, keys);
    fill_kv(random, data, values);
    fill(random, Data::Usual, sinks);
    const auto run = [&](const Kernels& k, Guarded<float>& out, bool in_spans) {
        for (int64_t i = 0; i < out.size(); ++i) out[i] = 12345.0f;
        const AttendArgs args{
            q.data(), out.data(), stride, stride, s.rows, s.last, s.window, pages.data(),
            reinterpret_cast<const uint8_t*>(keys.data()), reinterpret_cast<const uint8_t*>(values.data()),
            page_stride * kv_value_bytes(type), s.sinks ? sinks.data() : nullptr, 0.125f, s.heads, s.head_dim};
        if (!in_spans) return k.attend[static_cast<int>(type)](args);
        const int64_t spans = span_index(s.last / kPageTokens) + 1, size = s.heads * span_state(s.head_dim);
        Guarded<float> states(spans * size);
        for (int64_t i = spans - 1; i >= 0; --i)
            k.attend_span[static_cast<int>(type)](args, span_first_page(i), states.data() + i * size);
        k.fold_spans(args, states.data(), spans, size);
    };
    const std::string what = named(s, data) + (type == KvType::F16 ? " f16" : "");
    run(comparison.kernels, ours, false);
    run(kernels_generic(), generic, false);
    comparison.expect(what, ours, generic);
    if (s.rows > 1 || s.window) return;
    run(comparison.kernels, ours, true);
    comparison.expect(what + " in spans", ours, generic);
}

// Floats around every float16: itself, above it by less than half a step, halfway to the next.
void round_cases(Comparison& comparison) {
    constexpr int64_t n = 65536 * 4;
    Guarded<float> x(n);
    Guarded<uint16_t> ours(n), generic(n);
    for (int64_t i = 0; i < n; i += 4) {
        const auto half = static_cast<uint32_t>(i / 4);
        const float small = static_cast<float>(half & 0x7FFF) * 0x1p-24f;  // subnormal up to 2^10
        const uint32_t normal = (half & 0x8000u) << 16 | (((half & 0x7FFFu) << 13) + (112u << 23));
        x[i] = small;
        x[i + 1] = -small - 0x1p-25f;
        x[i + 2] = float_of(normal | 0x1000u);
        x[i + 3] = float_of(normal | 0x1001u);
    }
    comparison.kernels.round_f16(x.data(), n, ours.data());
    kernels_generic().round_f16(x.data(), n, generic.data());
    comparison.expect("round_f16", ours, generic);
}

}  // namespace

void attend_cases(Comparison& comparison) {
    Random random(3);
    round_cases(comparison);
    for (const int head_dim : {16, 48, 64, 128, 256})
        for (const int heads : {1, 2, 3, 8, 9})
            for (const int rows : {1, 2, 5, kAttendRows})
                for (const int64_t window : {0, 1, 17, 64, 128}) {
                    for (const int64_t last : {0, 62, 63, 64, 200}) {
                        const Data data = random.below(8) ? Data::Usual : Data::Zeros;
                        const bool sinks = random.below(2) == 0;
                        const Shape shape{heads, head_dim, rows, last, window, sinks};
                        attend_case<float>(comparison, random, shape, data, KvType::F32);
                        attend_case<uint16_t>(comparison, random, shape, data, KvType::F16);
                    }
                }
    for (const int heads : {1, 3, 8, 9})  // ends and beginnings of spans
        for (const int64_t last : {510, 511, 512, 4095, 4096, 4223, 8192, 8318, 17000}) {
            const Shape shape{heads, 16, 1 + static_cast<int>(last % 2) * 3, last, 0, heads != 3};
            attend_case<float>(comparison, random, shape, Data::Usual, KvType::F32);
            attend_case<uint16_t>(comparison, random, shape, Data::Usual, KvType::F16);
        }
}

}  // namespace ingle::test
