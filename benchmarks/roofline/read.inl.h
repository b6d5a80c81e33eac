// Reads by 64-byte vectors, compiled once per instruction set. kLine: bytes of a cache line.
#pragma once
#include "loops.h"

namespace roofline {
namespace {

typedef uint64_t Line __attribute__((vector_size(64), aligned(64)));
constexpr int64_t kLine = sizeof(Line);

// A chunk is cut into kStreams runs that are read side by side, four lines of each per turn.
template <int kStreams, int64_t kAhead>
uint64_t read(const uint8_t* data, int64_t nbytes) {
    const int64_t run = nbytes / kStreams;
    Line sums[4] = {};
    for (int64_t i = 0; i < run; i += 4 * kLine)
        for (int s = 0; s < kStreams; ++s) {
            const uint8_t* at = data + s * run + i;
            for (int k = 0; k < 4; ++k) {
                // Past the end of a chunk lies the next one; a prefetch past the last is no fault.
                if constexpr (kAhead > 0) __builtin_prefetch(at + k * kLine + kAhead, 0, 3);
                if constexpr (kAhead < 0) __builtin_prefetch(at + k * kLine - kAhead, 0, 0);
                sums[k] ^= *reinterpret_cast<const Line*>(at + k * kLine);
            }
        }
    const Line all = sums[0] ^ sums[1] ^ sums[2] ^ sums[3];
    uint64_t sum = 0;
    for (int k = 0; k < 8; ++k) sum ^= all[k];
    return sum;
}

constexpr Read kReads[] = {
    {"1 stream", read<1, 0>},
    {"2 streams", read<2, 0>},
    {"4 streams", read<4, 0>},
    {"1 stream, prefetch 1 KiB", read<1, 1 << 10>},
    {"1 stream, prefetch 4 KiB", read<1, 4 << 10>},
    {"2 streams, prefetch 2 KiB", read<2, 2 << 10>},
    {"4 streams, prefetch 1 KiB", read<4, 1 << 10>},
    {"1 stream, prefetch 2 KiB past the caches", read<1, -(2 << 10)>},
};
constexpr int kNumReads = sizeof kReads / sizeof kReads[0];

// Makes the compiler believe that a value is used.
template <class T>
void keep(T value) {  // a copy: sums whose address is taken would be stored in every round
    asm volatile("" : : "m"(value));
}

}  // namespace
}  // namespace roofline
