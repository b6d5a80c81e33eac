// Steps of a mixture of experts: route, group tokens by expert, gate + up + activation, down, combine.
#include <array>

#include "engine/experts.h"
#include "engine/step.h"

namespace ingle {

namespace {

struct MoeStep : Step {
    std::shared_ptr<MoeBuffers> buffers;
    MoeShape shape;
    int ranks(const Frame& f) const {
        return f.batch.num_experts_per_tok ? f.batch.num_experts_per_tok : shape.num_experts_per_tok;
    }
};

struct Route : MoeStep {
    const char* name() const override { return "route"; }
    Slot logits;
    void run(const Frame& f, int thread) override {
        const int k = ranks(f);
        share(f, thread, rows(f), 8, 4, [&](int64_t begin, int64_t end) {
            for (int64_t r = begin; r < end; ++r)
                f.kernels.route({row(logits, r), shape.num_experts, k, shape.routing,
                                 shape.renormalize, &buffers->ids[r * k], &buffers->weights[r * k]});
        });
    }
};

struct Group : MoeStep {  // a counting sort; too little work to share
    const char* name() const override { return "group"; }
    bool chooses_weights() const override { return true; }
    void run(const Frame& f, int thread) override {
        if (thread != 0) return;
        MoeBuffers& b = *buffers;
        const int64_t k = ranks(f), pairs = rows(f) * k;
        std::fill(b.start.begin(), b.start.end(), 0);
        for (int64_t i = 0; i < pairs; ++i) ++b.start[b.ids[i] + 1];
        b.active.clear();
        for (int e = 0; e < b.num_experts; ++e) {
            if (b.start[e + 1]) b.active.push_back(e);
            b.start[e + 1] += b.start[e];
        }
        std::array<int32_t, kMaxExperts> next;
        std::copy_n(b.start.begin(), b.num_experts, next.begin());
        for (int64_t i = 0; i < pairs; ++i) {
            b.entry[i] = next[b.ids[i]]++;
            b.token[b.entry[i]] = static_cast<int32_t>(i / k);
        }
    }
};

// Rows of `in` copied into the order of entries, so that an expert's rows lie side by side.
struct Gather : MoeStep {
    const char* name() const override { return "gather"; }
    Slot in, out;
    bool floats;  // a stack is multiplied as floats; perhaps beside one that takes 8-bit rows
    void run(const Frame& f, int thread) override {
        const int64_t pairs = rows(f) * ranks(f);
        share(f, thread, pairs, 8, 4, [&](int64_t begin, int64_t end) {
            for (int64_t i = begin; i < end; ++i) copy(buffers->token[i], i);
        });
        if (rows(f) <= kFewRows) ask_for(after(f, thread));
    }
    // Which experts come was not known to the step that last read weights.
    static void ask_for(Ahead ahead) {
        for (int64_t line = 0; line < ahead.nbytes; line += 64) __builtin_prefetch(ahead.at + line, 0, 2);
    }
    void copy(int64_t from, int64_t to) const {
        if (floats) std::memcpy(row(out, to), row(in, from), sizeof(float) * in.width);
        if (!in.int8_parts) return;
        const int64_t blocks = in.width / kBlock;
        std::memcpy(out.q.q + to * in.width, in.q.q + from * in.width, in.width);
        std::memcpy(out.q.d + to * blocks, in.q.d + from * blocks, 4 * blocks);
        std::memcpy(out.q.ds + to * blocks, in.q.ds + from * blocks, 4 * blocks);
        std::memcpy(out.q.sum + to * blocks, in.q.sum + from * blocks, 4 * blocks);
    }
};

// Work over (active expert, unit of its output): entries of an expert share its weights.
struct ExpertStep : MoeStep {
    Slot in, out;
    bool reads_weights() const override { return true; }
    virtual int64_t units() const = 0;  // of one expert
    virtual void unit(const Kernels& k, int64_t expert, int64_t u, int64_t c, int64_t n, Ahead ahead) = 0;
    virtual Ahead read(int64_t expert, int64_t u) const = 0;
    int64_t total() const { return units() * static_cast<int64_t>(buffers->active.size()); }
    void run(const Frame& f, int thread) override {
        if (rows(f) <= kFewRows)  // the weights are read once, in equal shares
            return stream(f, thread, total(), 2, [&](int64_t i, int64_t next) {
                item(f.kernels, i, next < total() ? item_at(next) : after(f, thread));
            });
        share(f, thread, total(), 2, 0, [&](int64_t begin, int64_t end) {  // experts have unequal numbers of rows
            for (int64_t i = begin; i < end; ++i) item(f.kernels, i, {});
        });
    }
    void item(const Kernels& k, int64_t i, Ahead ahead) {
        const int64_t expert = buffers->active[i / units()];
        const int64_t first = buffers->start[expert], last = buffers->start[expert + 1];
        for (int64_t c = first; c < last; c += kColumnBlock)
            unit(k, expert, i % units(), c, std::min(kColumnBlock, last - c), ahead);
    }
    Ahead item_at(int64_t i) const { return read(buffers->active[i / units()], i % units()); }
    Ahead first_read(const Frame& f, int thread) const override {
        return total() ? item_at(first_item(f, thread, total())) : Ahead{};
    }
};

struct ExpertGateUp : ExpertStep {
    const char* name() const override { return "expert_gate_up"; }
    ExpertStack gate, up;
    int64_t units() const override { return out.width / kBlock; }
    Ahead read(int64_t expert, int64_t u) const override { return ahead_of(*gate.weight, expert, u); }
    void unit(const Kernels& k, int64_t expert, int64_t u, int64_t c, int64_t n, Ahead ahead) override {
        alignas(64) float g[kColumnBlock * kBlock], v[kColumnBlock * kBlock];
        project(k, gate, expert, u, c, n, g, ahead.at ? ahead_of(*up.weight, expert, u) : Ahead{});
        project(k, up, expert, u, c, n, v, ahead);
        for (int64_t i = 0; i < n; ++i) {
            float* h = row(out, c + i) + u * kBlock;
            k.activate[static_cast<int>(shape.activation)](g + i * kBlock, v + i * kBlock, kBlock, h);
            if (out.int8_parts) quantize(k, h, out, c + i, u * kBlock, kBlock);
        }
    }
    void project(const Kernels& k, const ExpertStack& stack, int64_t expert, int64_t u, int64_t c,
                 int64_t n, float* y, Ahead ahead) const {
        const Matrix& w = *stack.weight;
        multiply(k, w, expert, u, in, c, n, y, kPairRows, ahead);
        add_bias(y, n, kPairRows, stack.bias ? stack.bias + expert * stack.bias_stride + u * kPairRows : nullptr,
                 kPairRows);
    }
};

struct ExpertDown : ExpertStep {
    const char* name() const override { return "expert_down"; }
    ExpertStack down;
    int64_t units() const override { return num_pairs(*down.weight); }
    Ahead read(int64_t expert, int64_t u) const override { return ahead_of(*down.weight, expert, u); }
    void unit(const Kernels& k, int64_t expert, int64_t u, int64_t c, int64_t n, Ahead ahead) override {
        const Matrix& w = *down.weight;
        const int64_t first = u * kPairRows;
        float* y = row(out, c) + first;
        multiply(k, w, expert, u, in, c, n, y, out.stride, ahead);
        add_bias(y, n, out.stride, down.bias ? down.bias + expert * down.bias_stride + first : nullptr,
                 std::min(kPairRows, w.rows - first));
    }
};

// residual += sum over ranks, best first, of weight * expert output
struct Combine : MoeStep {
    const char* name() const override { return "combine"; }
    Slot in, residual;
    static constexpr int64_t kColumns = 256;
    void run(const Frame& f, int thread) override {
        const int k = ranks(f);
        const int64_t parts = (residual.stride + kColumns - 1) / kColumns;
        share(f, thread, rows(f) * parts, 4, 4, [&](int64_t begin, int64_t end) {
            for (int64_t i = begin; i < end; ++i) part(f.kernels, i / parts, i % parts * kColumns, k);
        });
    }
    void part(const Kernels& kernels, int64_t r, int64_t column, int k) const {
        const int64_t n = std::min(kColumns, residual.stride - column);
        alignas(64) float total[kColumns] = {};
        for (int rank = 0; rank < k; ++rank) {
            const int64_t pair = r * k + rank;
            kernels.add_weighted(buffers->weights[pair], row(in, buffers->entry[pair]) + column, n, total);
        }
        float* x = row(residual, r) + column;
        for (int64_t i = 0; i < std::min(n, residual.width - column); ++i) x[i] += total[i];
    }
};

}  // namespace

std::shared_ptr<MoeBuffers> Tape::moe_buffers(int num_experts, int64_t capacity) {
    for (const auto& known : moe_buffers_)
        if (known->num_experts == num_experts && known->capacity == capacity) return known;
    moe_buffers_.push_back(std::make_shared<MoeBuffers>(num_experts, capacity));
    return moe_buffers_.back();
}

void Tape::moe(int in, int router, const MoeShape& shape, const ExpertStack& gate,
               const ExpertStack& up, const ExpertStack& down, int residual) {
    const int64_t hidden = gate.weight->rows, ranks = shape.num_experts_per_tok;
    require(shape.num_experts >= 1 && shape.num_experts <= kMaxExperts, "experts must be 1 to 1024");
    require(ranks >= 1 && ranks <= shape.num_experts, "experts per token must be 1 to all experts");
    require(at(router).width == shape.num_experts, "one router logit per expert");
    require(up.weight->rows == hidden && hidden % kBlock == 0 && down.weight->columns == hidden,
            "gate, up and down must share a hidden width that is a multiple of 32");
    require(down.weight->rows == at(residual).width, "down must have one row per residual column");
    for (const ExpertStack* stack : {&gate, &up, &down})
        require(stack->weight->num_matrices == shape.num_experts, "one matrix per expert");
    require_input(in, *gate.weight);
    require_input(in, *up.weight);
    const int64_t capacity = std::max(max_rows_ * ranks, int64_t{shape.num_experts});
    moe_capacity_ = std::min(moe_capacity_, capacity);
    max_ranks_ = std::min(max_ranks_, shape.num_experts);
    default_ranks_ = std::max(default_ranks_, static_cast<int>(ranks));
    const auto buffers = moe_buffers(shape.num_experts, capacity);
    const auto scratch_slot = [&](const char* role, int64_t width, int parts, bool floats = true) -> const Slot& {
        return at(shared_slot(role, width, parts, (capacity + max_rows_ - 1) / max_rows_, floats));
    };
    const int int8_in = at(in).int8_parts ? 1 : 0;
    const bool floats = !int8_in || gate.weight->is_float() || up.weight->is_float();
    const Slot gathered = scratch_slot("gathered", at(in).width, int8_in, floats);
    const Slot inner = scratch_slot("inner", hidden, int8_in);
    last_moe_ = {buffers, inner};
    const Slot expert_out = scratch_slot("expert_out", at(residual).width, 0);

    const auto add = [&](auto step) {
        step->buffers = buffers;
        step->shape = shape;
        push(std::move(step));
    };
    auto route = std::make_unique<Route>();
    route->logits = at(router);
    add(std::move(route));
    add(std::make_unique<Group>());
    auto gather = std::make_unique<Gather>();
    gather->in = at(in);
    gather->out = gathered;
    gather->floats = floats;
    add(std::move(gather));
    auto gate_up = std::make_unique<ExpertGateUp>();
    gate_up->in = gathered;
    gate_up->out = inner;
    gate_up->gate = gate;
    gate_up->up = up;
    add(std::move(gate_up));
    auto last = std::make_unique<ExpertDown>();
    last->in = inner;
    last->out = expert_out;
    last->down = down;
    add(std::move(last));
    auto combine = std::make_unique<Combine>();
    combine->in = expert_out;
    combine->residual = at(residual);
    add(std::move(combine));
}

}  // namespace ingle
