// Runs a CUDA kernel on the CPU: the file that KERNEL names, compiled as C++. One block runs after the other, and its
// threads take turns as fibers that yield where they wait for each other. Stricter than a GPU wherever that finds bugs:
// shared memory holds NaN at the start of a block; a barrier or shuffle that not everyone reaches is an error; blocks
// and threads run in an order that nobody would expect.

#include <algorithm>
#include <cmath>
#include <csetjmp>
#include <cstdio>
#include <cstring>
#include <string>
#include <ucontext.h>
#include <utility>

struct Index {
    unsigned int x, y, z;
};
static Index threadIdx, blockIdx, gridDim;

constexpr int MOST_SHARED = 48 * 1024;
constexpr int SHARED_GUARD = 4 * 1024;
alignas(16) float shared[(MOST_SHARED + SHARED_GUARD) / sizeof(float)];

enum Wait { RUNNABLE, AT_BARRIER, AT_SHUFFLE, FINISHED };

struct Fiber {
    ucontext_t start;
    jmp_buf resume;
    bool started;
    char stack[64 * 1024];
    Wait wait;
    int line;        // where it waits
    float slots[2];  // alternating, as a lane may shuffle again before the others have read
    int slot;
};
static Fiber fibers[THREADS];
static jmp_buf scheduler;
static Fiber* current;

// Contexts make the fibers, jumps switch between them: swapcontext makes a system call every time.
static __attribute__((noinline)) void resume(Fiber* fiber)
{
    current = fiber;
    threadIdx.x = fiber - fibers;
    if (_setjmp(scheduler))
        return;
    if (fiber->started)
        _longjmp(fiber->resume, 1);
    fiber->started = true;
    setcontext(&fiber->start);
}

static void wait_for(Wait wait, int line)
{
    current->wait = wait;
    current->line = line;
    if (!_setjmp(current->resume))
        _longjmp(scheduler, 1);
}

static float shuffle_down(unsigned int mask, float value, unsigned int distance, int line)
{
    Fiber* self = current;
    self->slot ^= 1;
    self->slots[self->slot] = value;
    wait_for(AT_SHUFFLE, mask == 0xffffffffu ? line : -line);
    const unsigned int lane = (self - fibers) % 32;
    return (lane + distance < 32 ? self + distance : self)->slots[self->slot];
}

static unsigned int atomicAdd(unsigned int* address, unsigned int value)
{
    const unsigned int before = *address;
    *address += value;
    return before;
}

static float __int_as_float(int bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static float power_of_two(float v) { return v < -126.0f ? 0.0f : exp2f(v); }
static float logarithm(float z) { return log2f(z); }
static float widen(unsigned short bits)
{
    const int exponent = bits >> 10 & 31, mantissa = bits & 1023;
    const float size = exponent == 0    ? ldexpf(mantissa, -24)
                       : exponent == 31 ? (mantissa ? NAN : INFINITY)
                                        : ldexpf(1024 + mantissa, exponent - 25);
    return bits >> 15 ? -size : size;
}

using std::max;
using std::min;
#define EMULATOR
#define __device__ static
#define __global__
#define __shared__
#define __launch_bounds__(...)
#define __syncthreads() wait_for(AT_BARRIER, __LINE__)
#define __shfl_down_sync(mask, value, distance) shuffle_down(mask, value, distance, __LINE__)
#include KERNEL

template <class... Parameters, size_t... I>
static void call(void (*kernel)(Parameters...), void** arguments, std::index_sequence<I...>)
{
    kernel(*static_cast<Parameters*>(arguments[I])...);
}

template <class... Parameters>
static void call(void (*kernel)(Parameters...), void** arguments)
{
    call(kernel, arguments, std::index_sequence_for<Parameters...>());
}

static void** kernel_arguments;
static void run_thread()
{
    for (;;) {  // once for every block
        call(ENTRY, kernel_arguments);
        wait_for(FINISHED, 0);
    }
}

static void make(Fiber& fiber)
{
    getcontext(&fiber.start);
    fiber.start.uc_stack.ss_sp = fiber.stack;
    fiber.start.uc_stack.ss_size = sizeof fiber.stack;
    makecontext(&fiber.start, run_thread, 0);
    fiber.started = false;
}

static bool all_wait_alike(const Fiber* first, int count)
{
    return std::all_of(first, first + count, [&](const Fiber& fiber) {
        return fiber.wait == first->wait && fiber.line == first->line && fiber.line > 0;
    });
}

static void release(Fiber* first, int count)
{
    std::for_each(first, first + count, [](Fiber& fiber) { fiber.wait = RUNNABLE; });
}

// Let whoever has arrived go on. Every thread has run until it waits or is done, so what does not fit now never will.
static const char* release_some()
{
    bool shuffled = false;
    for (Fiber* warp = fibers; warp < fibers + THREADS; warp += 32) {
        if (std::none_of(warp, warp + 32, [](const Fiber& fiber) { return fiber.wait == AT_SHUFFLE; }))
            continue;
        if (!all_wait_alike(warp, 32))
            return "a shuffle that not all lanes of the warp reach";
        release(warp, 32);
        shuffled = true;
    }
    if (shuffled)
        return nullptr;
    if (!all_wait_alike(fibers, THREADS))
        return "a barrier that not all threads of the block reach";
    release(fibers, THREADS);
    return nullptr;
}

static const char* run_block(bool backwards, size_t shared_bytes)
{
    memset(shared, 0xff, sizeof shared);  // NaN
    release(fibers, THREADS);
    for (;;) {
        for (int i = 0; i < THREADS; ++i) {
            Fiber* fiber = &fibers[backwards ? THREADS - 1 - i : i];
            if (fiber->wait == RUNNABLE)
                resume(fiber);
        }
        if (std::all_of(fibers, fibers + THREADS, [](const Fiber& fiber) { return fiber.wait == FINISHED; }))
            break;
        if (const char* error = release_some())
            return error;
    }
    const char* guard = reinterpret_cast<const char*>(shared);
    if (std::any_of(guard + shared_bytes, guard + sizeof shared, [](char byte) { return byte != '\xff'; }))
        return "a store past the end of shared memory";
    return nullptr;
}

template <class... Parameters>
static std::string letters(void (*)(Parameters...))
{
    return {(std::is_pointer_v<Parameters> ? 'P' : std::is_same_v<Parameters, int> ? 'I' : 'F')...};
}

extern "C" {

// Run a grid. `arguments` as for cuLaunchKernel: the address of every argument. Returns what went wrong, or null.
const char* launch(const unsigned int* grid, const unsigned int* block, size_t shared_bytes, void** arguments)
{
    if (block[0] != THREADS || block[1] != 1 || block[2] != 1)
        return "a block of other threads than the kernel was compiled for";
    if (shared_bytes > MOST_SHARED)
        return "more shared memory than a device gives without asking";
    kernel_arguments = arguments;
    for (Fiber& fiber : fibers)
        make(fiber);
    gridDim = {grid[0], grid[1], grid[2]};
    const unsigned long long blocks = 1ull * grid[0] * grid[1] * grid[2];
    const unsigned long long step = 1000003 % blocks ? 1000003 : 1;  // a prime: visits every block, out of order
    for (unsigned long long i = 0; i < blocks; ++i) {
        const unsigned long long block = i * step % blocks;
        blockIdx = {
            unsigned(block % grid[0]), unsigned(block / grid[0] % grid[1]), unsigned(block / grid[0] / grid[1])};
        if (const char* error = run_block(i % 2, shared_bytes))
            return error;
    }
    return nullptr;
}

// A letter for every parameter of the kernel: Pointer, Int or Float.
const char* signature()
{
    static const std::string result = letters(ENTRY);
    return result.c_str();
}
}
