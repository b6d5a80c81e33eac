#include "engine/tape.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <stdexcept>

#include "engine/step.h"

namespace ingle {

Tape::Tape(std::shared_ptr<Pool> pool, const Kernels& kernels, int64_t max_rows)
    : pool_(std::move(pool)), kernels_(kernels), max_rows_(max_rows) {
    require(max_rows >= 1 && max_rows <= 65536, "max_rows must be 1 to 65536");
}

Tape::~Tape() = default;

void* Tape::scratch(int64_t bytes) {
    arenas_.push_back({std::make_unique_for_overwrite<uint8_t[]>(static_cast<size_t>(bytes + 64)),
                       bytes + 64});
    scratch_bytes_ += bytes + 64;
    const auto address = reinterpret_cast<uintptr_t>(arenas_.back().memory.get());
    return reinterpret_cast<void*>((address + 63) & ~static_cast<uintptr_t>(63));
}

int Tape::slot(int64_t width, int int8_parts, int64_t ranks, bool floats) {
    require(width >= 1 && width <= (1 << 24), "slot width must be 1 to 2^24");
    require(int8_parts >= 0 && int8_parts <= 2, "a slot has 0, 1 or 2 8-bit parts");
    require(!int8_parts || width % kBlock == 0,
            "an 8-bit slot needs a width that is a multiple of 32");
    require(ranks >= 1 && ranks <= kMaxExperts, "ranks must be 1 to 1024");
    Slot s;
    s.width = width;
    s.stride = (width + 15) / 16 * 16;
    if (floats) s.f = static_cast<float*>(scratch(max_rows_ * ranks * s.stride * 4));
    s.int8_parts = int8_parts;
    if (int8_parts) {
        const int64_t rows = max_rows_ * ranks * int8_parts, blocks = rows * width / kBlock * 4;
        s.q = {static_cast<int8_t*>(scratch(rows * width)), static_cast<float*>(scratch(blocks)),
               static_cast<float*>(scratch(blocks)), static_cast<int32_t*>(scratch(blocks)), width};
    }
    slots_.push_back(s);
    return static_cast<int>(slots_.size()) - 1;
}

int Tape::shared_slot(const std::string& role, int64_t width, int int8_parts, int64_t ranks,
                      bool floats) {
    const auto key = std::make_tuple(role, width, int8_parts, ranks, floats);
    const auto known = shared_slots_.find(key);
    if (known != shared_slots_.end()) return known->second;
    return shared_slots_[key] = slot(width, int8_parts, ranks, floats);
}

const Slot& Tape::at(int slot) const {
    require(slot >= 0 && slot < static_cast<int>(slots_.size()), "no such slot");
    return slots_[slot];
}

void Tape::push(std::unique_ptr<Step> step) {
    step->on_outputs = outputs_selected_;
    if (step->reads_weights()) {
        for (auto before = steps_.rbegin(); before != steps_.rend(); ++before) {
            (*before)->next_reader = step.get();
            if ((*before)->reads_weights() || (*before)->chooses_weights()) break;
        }
    }
    steps_.push_back(std::move(step));
}

void Tape::require_input(int slot, const Matrix& weight) const {
    const Slot& s = at(slot);
    require(s.width == weight.columns, "weight columns must equal the input's width");
}

int64_t Tape::max_batch_rows(int num_experts_per_tok) const {
    const int64_t ranks = num_experts_per_tok > 0 ? num_experts_per_tok : default_ranks_;
    return ranks ? std::max<int64_t>(1, std::min(max_rows_, moe_capacity_ / ranks)) : max_rows_;
}

void Tape::check(const BatchView& b) const {
    require(b.rows >= 1 && b.rows <= max_rows_, "a batch must have 1 to max_rows tokens");
    const int64_t ranks = b.num_experts_per_tok ? b.num_experts_per_tok : default_ranks_;
    require(ranks >= 0 && ranks <= max_ranks_, "more experts per token than experts");
    require(b.rows * ranks <= moe_capacity_, "more (token, expert) pairs than were recorded");
    require(b.num_outputs >= 0 && b.num_outputs <= max_rows_, "more output rows than max_rows");
    require(b.logits_stride >= logits_width_, "logits need room for whole tiles");
    for (int64_t i = 0; i < b.num_outputs; ++i)
        require(b.output_rows[i] >= 0 && b.output_rows[i] < b.rows, "output row outside the batch");
    for (int64_t r = 0; r < b.rows; ++r) {
        require(b.ids[r] >= 0 && b.ids[r] < vocabulary_, "token id outside the vocabulary");
        require(b.sequences[r] >= 0 && b.sequences[r] < b.num_sequences, "unknown sequence");
        require(b.positions[r] >= 0 && b.positions[r] < rope_positions_,
                "position beyond the context this model was loaded with");
    }
    for (const AttentionShape& s : attentions_) {
        require(s.group >= 0 && s.group < static_cast<int>(b.groups.size()), "missing KV group");
        const KvGroup& g = b.groups[s.group];
        require(s.layer >= 0 && s.layer < g.num_layers, "KV group has too few layers");
        require(g.page_values == int64_t{s.num_kv_heads} * s.head_dim * kPageTokens,
                "KV pages have another shape than the layer");
        for (int64_t r = 0; r < b.rows; ++r) {
            const int64_t last = b.positions[r] / kPageTokens;
            require(last < g.table_width, "position beyond the page table");
            const int64_t first = s.window && b.positions[r] >= s.window
                                      ? (b.positions[r] - s.window + 1) / kPageTokens : 0;
            for (int64_t p = first; p <= last; ++p) {
                const int32_t page = g.page_tables[b.sequences[r] * g.table_width + p];
                require(page >= 0 && page < g.num_pages, "page outside the KV pool");
            }
        }
    }
}

void Tape::run(const BatchView& batch) {
    if (!pool_->alive()) throw std::runtime_error("a model must be loaded after the process forks");
    const std::lock_guard one_at_a_time(pool_->mutex());
    for (const auto& step : steps_) step->next_.store(0, std::memory_order_relaxed);
    const Frame frame{batch, kernels_, pool_->num_threads()};
    if (timed) clocks_.resize(steps_.size() * static_cast<size_t>(frame.num_threads));
    pool_->run([&](int thread) {
        if (timed) return run_timed(frame, thread);
        for (const auto& step : steps_) {
            step->run(frame, thread);
            pool_->barrier();
        }
    });
}

void Tape::run_timed(const Frame& frame, int thread) {
    using Clock = std::chrono::steady_clock;
    const auto seconds = [](Clock::duration d) { return std::chrono::duration<double>(d).count(); };
    auto begin = Clock::now();
    for (size_t i = 0; i < steps_.size(); ++i) {
        steps_[i]->run(frame, thread);
        const auto done = Clock::now();
        pool_->barrier();
        const auto end = Clock::now();
        Clocks& c = clocks_[i * static_cast<size_t>(frame.num_threads) + static_cast<size_t>(thread)];
        c.work += seconds(done - begin);
        c.wait += seconds(end - done);
        begin = end;
    }
}

std::vector<Tape::Share> Tape::shares() const {
    std::vector<Share> out;
    const size_t threads = steps_.empty() ? 0 : clocks_.size() / steps_.size();
    for (size_t i = 0; i < steps_.size(); ++i) {
        const auto same = [&](const Share& s) { return s.step == steps_[i]->name(); };
        auto share = std::find_if(out.begin(), out.end(), same);
        if (share == out.end()) share = out.insert(out.end(), Share{steps_[i]->name(), 0, 0});
        for (size_t t = 0; t < threads; ++t) {
            share->work += clocks_[i * threads + t].work;
            share->wait += clocks_[i * threads + t].wait;
        }
    }
    return out;
}

}  // namespace ingle
