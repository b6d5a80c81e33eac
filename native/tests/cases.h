// What the cases of every kernel share: random data that are the same on every machine, arrays that
// fault when read or written past their end, and the count of what was compared.
#pragma once
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "kernels/kernels.h"

namespace ingle::test {

class Random {  // splitmix64 (Steele et al. 2014)
public:
    explicit Random(uint64_t seed) : state_(seed) {}
    uint64_t next() {
        uint64_t z = state_ += 0x9E3779B97F4A7C15u;
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
        z = (z ^ z >> 27) * 0x94D049BB133111EBu;
        return z ^ z >> 31;
    }
    int64_t below(int64_t n) { return static_cast<int64_t>(next() >> 1) % n; }
    float uniform() { return static_cast<float>(static_cast<int64_t>(next() >> 40)) * 0x1p-23f - 1.0f; }

private:
    uint64_t state_;
};

// n values that end where an unreadable page begins.
template <class T>
class Guarded {
public:
    explicit Guarded(int64_t n) : n_(n) {
        const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
        const size_t used = (static_cast<size_t>(n) * sizeof(T) + page - 1) / page * page;
        nbytes_ = used + page;
        base_ = mmap(nullptr, nbytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (base_ == MAP_FAILED || mprotect(static_cast<char*>(base_) + used, page, PROT_NONE) != 0) {
            std::perror("kernels_test: mmap");
            std::exit(2);
        }
        data_ = reinterpret_cast<T*>(static_cast<char*>(base_) + used) - n;
    }
    ~Guarded() { munmap(base_, nbytes_); }
    Guarded(const Guarded&) = delete;
    Guarded& operator=(const Guarded&) = delete;

    T* data() { return data_; }
    int64_t size() const { return n_; }
    T& operator[](int64_t i) { return data_[i]; }

private:
    void* base_;
    size_t nbytes_;
    T* data_;
    int64_t n_;
};

enum class Data { Usual, Zeros, Edge };  // Edge: zeros of both signs, subnormals, the largest values
constexpr Data kData[] = {Data::Usual, Data::Zeros, Data::Edge};

void fill(Random& random, Data data, Guarded<float>& values);

// Compares with `generic` bit for bit. Where both are no number, its sign and payload are free: the
// language leaves them to the compiler.
class Comparison {
public:
    explicit Comparison(const Kernels& kernels) : kernels(kernels) {}

    const Kernels& kernels;
    int64_t cases = 0, values = 0, different = 0;
    uint64_t digest = 0xCBF29CE484222325u;  // of what generic gave (FNV-1a)

    void expect(const std::string& what, Guarded<float>& ours, Guarded<float>& generic);
    template <class T>
    void expect(const std::string& what, Guarded<T>& ours, Guarded<T>& generic) {
        ++cases;
        for (int64_t i = 0; i < generic.size(); ++i)
            count(what, i, static_cast<uint32_t>(ours[i]), static_cast<uint32_t>(generic[i]));
    }

private:
    void count(const std::string& what, int64_t index, uint32_t ours, uint32_t generic);
};

void matmul_cases(Comparison& comparison);
void row_cases(Comparison& comparison);
void attend_cases(Comparison& comparison);

}  // namespace ingle::test
