// Steps that watch: sums of squares of what goes into matrices, for importance matrices. They change
// no activation. A column's sum adds rows in order, so it does not depend on the number of threads.
#include "engine/step.h"

#include <algorithm>

#include "engine/experts.h"

namespace ingle {
namespace {

constexpr int64_t kWatchedColumns = 128;  // of one piece of work; their sums stay in registers and L1

// sums[0 .. width) += x^2
inline void add_squares(const float* x, int64_t width, double* sums) {
    for (int64_t j = 0; j < width; ++j) sums[j] += static_cast<double>(x[j]) * x[j];
}

struct Watch : Step {
    const char* name() const override { return "watch"; }
    Slot in;
    double* sums;    // (width,)
    int64_t* count;  // rows so far
    void run(const Frame& f, int thread) override {
        const int64_t n = rows(f), parts = (in.width + kWatchedColumns - 1) / kWatchedColumns;
        if (thread == 0) *count += n;
        share(f, thread, parts, 1, 4, [&](int64_t begin, int64_t end) {
            for (int64_t p = begin; p < end; ++p) {
                const int64_t first = p * kWatchedColumns;
                const int64_t width = std::min(kWatchedColumns, in.width - first);
                for (int64_t r = 0; r < n; ++r) add_squares(row(in, r) + first, width, sums + first);
            }
        });
    }
};

// What went into the experts of the MoE layer just before: rows of `in` into gate and up, hidden
// rows into down.
struct WatchExperts : Step {
    const char* name() const override { return "watch_experts"; }
    std::shared_ptr<MoeBuffers> buffers;
    Slot in, inner;
    double* in_sums;     // (experts, in.width)
    double* inner_sums;  // (experts, inner.width)
    int64_t* counts;     // (experts,)
    void run(const Frame& f, int thread) override {
        const MoeBuffers& b = *buffers;
        const int64_t parts =
            (std::max(in.width, inner.width) + kWatchedColumns - 1) / kWatchedColumns;
        if (thread == 0)
            for (int e = 0; e < b.num_experts; ++e) counts[e] += b.start[e + 1] - b.start[e];
        const int64_t total = parts * static_cast<int64_t>(b.active.size());
        share(f, thread, total, 1, 0, [&](int64_t begin, int64_t end) {
            for (int64_t i = begin; i < end; ++i) part(b.active[i / parts], i % parts * kWatchedColumns);
        });
    }
    void part(int64_t expert, int64_t first) const {
        const MoeBuffers& b = *buffers;
        const int64_t width = std::min(kWatchedColumns, in.width - first);
        const int64_t inner_width = std::min(kWatchedColumns, inner.width - first);
        double* to = in_sums + expert * in.width + first;
        double* inner_to = inner_sums + expert * inner.width + first;
        for (int64_t entry = b.start[expert]; entry < b.start[expert + 1]; ++entry) {
            add_squares(row(in, b.token[entry]) + first, width, to);
            add_squares(row(inner, entry) + first, inner_width, inner_to);
        }
    }
};

}  // namespace

void Tape::watch(int in, double* sums, int64_t* count) {
    require(at(in).int8_parts < 2, "the floats of a slot in two 8-bit parts are spent");
    auto step = std::make_unique<Watch>();
    step->in = at(in);
    step->sums = sums;
    step->count = count;
    push(std::move(step));
}

void Tape::watch_experts(int in, double* in_sums, double* inner_sums, int64_t* counts) {
    require(last_moe_.buffers != nullptr, "a mixture of experts must be recorded before it is watched");
    auto step = std::make_unique<WatchExperts>();
    step->buffers = last_moe_.buffers;
    step->in = at(in);
    step->inner = last_moe_.inner;
    step->in_sums = in_sums;
    step->inner_sums = inner_sums;
    step->counts = counts;
    push(std::move(step));
}

}  // namespace ingle
