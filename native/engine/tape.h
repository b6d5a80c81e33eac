// A forward pass as a flat list of steps, recorded once and run for any number of rows.
#pragma once
#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "engine/file_tiles.h"
#include "engine/matrix.h"
#include "engine/pool.h"
#include "kernels/kernels.h"

namespace ingle {

// Keys and values of the layers that share a page table: (layers, pages, kv_heads, ...).
struct KvGroup {
    uint8_t* keys;
    uint8_t* values;
    KvType type;
    int64_t num_layers, num_pages, page_values;  // page_values = kv_heads * head_dim * 64
    const int32_t* page_tables;                  // (num_sequences, table_width)
    int64_t table_width;
};

// One forward: T rows of tokens, R of which need logits.
struct BatchView {
    const int32_t* ids;        // (T,)
    const int32_t* positions;  // (T,) absolute
    const int32_t* sequences;  // (T,) row of the page tables
    int64_t rows;
    const int32_t* output_rows;  // (R,)
    int64_t num_outputs;
    std::vector<KvGroup> groups;
    int64_t num_sequences;
    float* logits;  // (R, logits_stride)
    int64_t logits_stride;
    int num_experts_per_tok;  // 0: as recorded
};

struct RopeTable {
    const float* cos;  // (positions, head_dim / 2)
    const float* sin;
    int64_t positions;
    bool interleaved;  // pairs (2i, 2i+1); else (i, i + head_dim / 2)
};

// Norms of q and k, head by head before rotation; null weights: none.
struct HeadNorms {
    const float* q;  // (head_dim,)
    const float* k;
    float eps;
};

struct AttentionShape {
    int num_heads, num_kv_heads, head_dim, window;  // window 0: full attention
    int group, layer;                               // KvGroup and layer inside it
    float scale;
};

// Rows of a linear layer that write columns [column, column + weight->rows) of the output.
struct LinearPart {
    std::shared_ptr<Matrix> weight;
    const float* bias;  // (rows,) or null
    int64_t column;
};

// Rows are looked up in it. file: where its tiles lie, to be read from there; null: in memory.
struct LookupTable {
    std::shared_ptr<Matrix> matrix;
    std::shared_ptr<FileTiles> file;
};

struct ExpertStack {
    std::shared_ptr<Matrix> weight;
    const float* bias;    // (experts, rows) or null
    int64_t bias_stride;  // floats from one expert's to the next
};

struct MoeShape {
    int num_experts, num_experts_per_tok;
    Routing routing;
    bool renormalize;
    Activation activation;
};

// How a checkpoint of 8-bit weights rounds what enters them: round(x / scale) + zero, -128 to 127.
struct InputRounding {
    bool dynamic, symmetric;  // dynamic: by the range of each row
    float scale, zero;        // where it is not
};

struct Frame;
struct Step;
struct MoeBuffers;

class Tape {
public:
    Tape(std::shared_ptr<Pool> pool, const Kernels& kernels, int64_t max_rows);
    ~Tape();

    // Slots: rows of floats and, if int8_parts is not 0, of 8-bit blocks beside them. With 2 parts
    // the remainder of the first is quantized again: row r lies in 8-bit rows 2r and 2r + 1.
    // `ranks` rows for each row of the batch. floats false: 8-bit blocks alone.
    int slot(int64_t width, int int8_parts, int64_t ranks = 1, bool floats = true);

    void embed(LookupTable table, LookupTable positions, int out);  // no matrix: no positions
    void select_outputs(int in, int out);
    // With a bias it is LayerNorm, without RMSNorm.
    void norm(int in, const float* weight, const float* bias, float eps, int out);
    // Several weights that share an input, such as q, k and v, are one step.
    void linear(int in, std::vector<LinearPart> parts, int out, bool add);
    void logits(int in, std::shared_ptr<Matrix> weight);
    // After logits by a scan: of its runs of 32 rows, the `count` with the largest maxima (ties: the
    // earlier) are done again with `weight`.
    void rescore(int in, std::shared_ptr<Matrix> weight, int64_t count);
    void store_kv(int qkv, const AttentionShape& shape, const RopeTable& rope, const HeadNorms& norms);
    void attend(int qkv, const AttentionShape& shape, const float* sinks, int out);
    // gate has no weight for GeluTanh.
    void gate_up(int in, const LinearPart& gate, int up_in, const LinearPart& up, Activation activation,
                 int out);
    // Rows of `in` after a stay in 8 bits as a checkpoint asks for it, as floats and, where `out` has
    // two 8-bit parts, as exact integers.
    void round_inputs(int in, const InputRounding& how, int out);
    // residual += weighted experts of `in`, chosen by the float slot `router`.
    void moe(int in, int router, const MoeShape& shape, const ExpertStack& gate,
             const ExpertStack& up, const ExpertStack& down, int residual);

    // Watching changes no activation; see capture.cpp. What is written to must outlive the tape.
    // sums (width,) += squares of every row of `in`; *count += rows.
    void watch(int in, double* sums, int64_t* count);
    // After moe(in, ...): the same per expert, of what went into gate and up and of what went into
    // down; sums (experts, width), counts (experts,).
    void watch_experts(int in, double* in_sums, double* inner_sums, int64_t* counts);

    // Checks the batch against what was recorded; throws std::invalid_argument.
    void check(const BatchView& batch) const;
    void run(const BatchView& batch);

    // Seconds that threads worked in each kind of step, and waited at its end, since `timed` was set:
    // where a token's time goes.
    struct Share {
        std::string step;
        double work, wait;  // summed over threads
    };
    bool timed = false;
    std::vector<Share> shares() const;

    // Tokens that one run can take when each goes to so many experts (0: as recorded).
    int64_t max_batch_rows(int num_experts_per_tok) const;
    int64_t scratch_bytes() const { return scratch_bytes_; }
    struct Arena {
        std::unique_ptr<uint8_t[]> memory;
        int64_t bytes;
    };
    const std::vector<Arena>& arenas() const { return arenas_; }
    int64_t width(int slot) const { return at(slot).width; }
    int64_t last_inner_width() const { return last_moe_.inner.width; }
    int64_t num_steps() const { return static_cast<int64_t>(steps_.size()); }

    struct Slot {
        int64_t width = 0, stride = 0;
        float* f = nullptr;  // (rows, stride)
        Q8Rows q{};          // (rows * int8_parts, width)
        int int8_parts = 0;
    };

private:
    void run_timed(const Frame& frame, int thread);
    void* scratch(int64_t bytes);
    const Slot& at(int slot) const;
    void push(std::unique_ptr<Step> step);
    void remember(const AttentionShape& shape);
    void require_shape(int qkv, const AttentionShape& shape) const;
    void require_input(int slot, const Matrix& weight) const;

    std::shared_ptr<Pool> pool_;
    const Kernels& kernels_;
    const int64_t max_rows_;
    int64_t scratch_bytes_ = 0;
    std::vector<Arena> arenas_;
    std::vector<Slot> slots_;
    std::vector<std::unique_ptr<Step>> steps_;
    struct Clocks {
        double work = 0, wait = 0;
    };
    std::vector<Clocks> clocks_;  // (steps, threads), while timed
    int64_t vocabulary_ = 0, rope_positions_ = INT64_MAX, logits_width_ = 0;
    bool outputs_selected_ = false;
    // Layers run one after another: slots of one role and shape are shared.
    int shared_slot(const std::string& role, int64_t width, int int8_parts, int64_t ranks,
                    bool floats = true);
    std::shared_ptr<MoeBuffers> moe_buffers(int num_experts, int64_t capacity);
    float* span_states(int64_t floats);

    std::map<std::tuple<std::string, int64_t, int, int64_t, bool>, int> shared_slots_;
    std::vector<std::shared_ptr<MoeBuffers>> moe_buffers_;
    std::map<int64_t, float*> span_states_;  // by the floats of a span
    struct LastMoe {
        std::shared_ptr<MoeBuffers> buffers;
        Slot inner;  // hidden rows, in the order of entries
    } last_moe_;
    int64_t moe_capacity_ = INT64_MAX;  // (row, rank) pairs that the smallest MoE layer holds
    int max_ranks_ = INT32_MAX, default_ranks_ = 0;
    std::vector<AttentionShape> attentions_;  // one per (group, window): what check() must see
};

}  // namespace ingle
