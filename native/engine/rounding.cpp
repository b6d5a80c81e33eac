// Inputs rounded to 8 bits row by row, as compressed-tensors does it (numerics/int8_inputs.py).
#include <limits>

#include "engine/step.h"

namespace ingle {
namespace {

constexpr float kRoundingBias = 12582912.0f;  // 1.5 * 2^23: leaves no bits for fractions
constexpr float kMostScale = std::numeric_limits<float>::max() / 2.0f;  // one part has twice the scale

float clamped(float x, float low, float high) {
    const float least = x > low ? x : low;  // and what is no number becomes `low`
    return least < high ? least : high;
}

float rounded(float x) { return (x + kRoundingBias) - kRoundingBias; }  // ties to even

struct RoundInputs : Step {
    const char* name() const override { return "round_inputs"; }
    Slot in, out;
    InputRounding how;
    void run(const Frame& f, int thread) override {
        share(f, thread, rows(f), 1, 4, [&](int64_t begin, int64_t end) {
            for (int64_t r = begin; r < end; ++r) one(r, range(r));
        });
    }
    // A row with what is no number, or without a finite range, has a scale that is no number: so have
    // its products, as in arithmetic without codes.
    InputRounding range(int64_t r) const {
        const float* x = row(in, r);
        float low = 0.0f, high = 0.0f;
        bool numbers = true;
        for (int64_t i = 0; i < in.width; ++i) {
            low = x[i] < low ? x[i] : low;
            high = x[i] > high ? x[i] : high;
            numbers = numbers && x[i] == x[i];
        }
        InputRounding found = how.dynamic ? of_range(low, high) : how;
        if (!numbers || found.scale > kMostScale) found.scale = std::numeric_limits<float>::quiet_NaN();
        return found;
    }
    InputRounding of_range(float low, float high) const {
        InputRounding found = how;
        found.scale = how.symmetric ? (-low > high ? -low : high) / 127.5f : (high - low) / 255.0f;
        if (!(found.scale > 0.0f)) found.scale = 1.0f;
        found.zero = how.symmetric ? 0.0f : rounded(clamped(-128.0f - low / found.scale, -128.0f, 127.0f));
        return found;
    }
    // A code less the zero point has 9 bits: twice its half, and what is left, are the two parts.
    void one(int64_t r, const InputRounding& by) const {
        const float* x = row(in, r);
        float* y = row(out, r);
        int8_t* half = out.int8_parts ? out.q.q + 2 * r * out.width : nullptr;
        for (int64_t i = 0; i < in.width; ++i) {
            const float code = rounded(clamped(x[i] / by.scale + by.zero, -128.0f, 127.0f));
            const int steps = static_cast<int>(code - by.zero);
            y[i] = static_cast<float>(steps) * by.scale;
            if (!half) continue;
            half[i] = static_cast<int8_t>(steps / 2);
            half[i + out.width] = static_cast<int8_t>(steps - steps / 2 * 2);
        }
        if (!half) return;
        describe(2 * r, 2.0f * by.scale);
        describe(2 * r + 1, by.scale);
    }
    void describe(int64_t part, float scale) const {  // scales and sums of an 8-bit row
        const int64_t blocks = out.width / kBlock;
        for (int64_t b = 0; b < blocks; ++b) {
            const int8_t* q = out.q.q + part * out.width + b * kBlock;
            int32_t first = 0, second = 0;
            for (int64_t i = 0; i < kBlock / 2; ++i) {
                first += q[i];
                second += q[i + kBlock / 2];
            }
            out.q.d[part * blocks + b] = scale;
            out.q.ds[part * blocks + b] = scale * static_cast<float>(first + second);
            out.q.sum[part * blocks + b] =
                static_cast<int32_t>(static_cast<uint32_t>(second) << 16 | (first & 0xFFFF));
        }
    }
};

}  // namespace

void Tape::round_inputs(int in, const InputRounding& how, int out) {
    require(at(in).width == at(out).width, "slots must have equal widths");
    require(at(out).int8_parts != 1, "rounded inputs are floats, or have two 8-bit parts");
    require(how.dynamic || (how.scale > 0.0f && how.scale <= kMostScale && how.zero >= -128.0f &&
                            how.zero <= 127.0f),
            "a fixed rounding needs a scale above 0, finite when doubled, and a zero point from -128 to 127");
    auto step = std::make_unique<RoundInputs>();
    step->in = at(in);
    step->out = at(out);
    step->how = how;
    push(std::move(step));
}

}  // namespace ingle
