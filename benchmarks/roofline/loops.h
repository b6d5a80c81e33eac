// The loops of one instruction set: reads of memory, and arithmetic in registers.
#pragma once
#include <cstdint>

namespace roofline {

struct Read {
    const char* name;  // streams a thread follows at once, and how far ahead it prefetches
    uint64_t (*sum)(const uint8_t* data, int64_t nbytes);  // nbytes: a multiple of kChunk
};

struct Loops {
    const char* isa;
    const Read* reads;
    int num_reads;
    // Each runs a few milliseconds and returns its operations, two per multiply-add; null: the set
    // has none.
    double (*int8)();
    double (*bf16)();
    double (*f32)();
};

constexpr int64_t kChunk = 4 << 20;   // bytes a thread takes at a time
constexpr int kChains = 12;           // independent sums: more than latency x issue width
constexpr int64_t kRounds = 1 << 20;  // of one call of an arithmetic loop

extern const Loops generic_loops, avx2_loops, avx512_loops;

}  // namespace roofline
