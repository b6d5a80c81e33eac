// Cases of attention: sizes of heads, rows, positions, windows and sinks, over pages in any order.
#include "cases.h"

namespace ingle::test {
namespace {

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

void attend_case(Comparison& comparison, Random& random, const Shape& s, Data data) {
    const int64_t row = s.heads * s.head_dim, stride = row + 7;
    const int64_t page_stride = int64_t{kPageTokens} * s.head_dim + 16;
    Guarded<float> q(s.rows * stride - 7), sinks(s.heads);
    Guarded<float> keys(kPages * page_stride - 16), values(kPages * page_stride - 16);
    Guarded<float> ours(q.size()), generic(q.size());
    Guarded<int32_t> pages(kPages);
    for (int i = 0; i < kPages; ++i) pages[i] = (3 * i + 2) % kPages;
    fill(random, data, q);
    fill(random, data, keys);
    fill(random, data, values);
    fill(random, Data::Usual, sinks);
    const auto run = [&](const Kernels& k, Guarded<float>& out) {
        for (int64_t i = 0; i < out.size(); ++i) out[i] = 12345.0f;
        k.attend({q.data(), out.data(), stride, stride, s.rows, s.last, s.window, pages.data(), keys.data(),
                  values.data(), page_stride, s.sinks ? sinks.data() : nullptr, 0.125f, s.heads, s.head_dim});
    };
    run(comparison.kernels, ours);
    run(kernels_generic(), generic);
    comparison.expect(named(s, data), ours, generic);
}

}  // namespace

void attend_cases(Comparison& comparison) {
    Random random(3);
    for (const int head_dim : {16, 48, 64, 128, 256})
        for (const int heads : {1, 2, 3, 8, 9})
            for (const int rows : {1, 2, 5, kAttendRows})
                for (const int64_t window : {0, 1, 17, 64, 128}) {
                    for (const int64_t last : {0, 62, 63, 64, 200}) {
                        const Data data = random.below(8) ? Data::Usual : Data::Zeros;
                        const bool sinks = random.below(2) == 0;
                        attend_case(comparison, random, {heads, head_dim, rows, last, window, sinks}, data);
                    }
                }
}

}  // namespace ingle::test
