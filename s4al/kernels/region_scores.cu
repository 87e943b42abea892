// Region scores from low-resolution logits in one pass. `reference.py` is the specification, `launch_plan.py` makes the
// tables and sizes, `region_scores_cuda.py` launches. One block scores one region of one image, tile by tile:
//
// 1. *Stage* the low-resolution logits under the tile in shared memory: subtract from every pixel its largest class and
//    multiply by log2(e). Bilinear weights sum to one, so all classes of an upsampled pixel are shifted by one common
//    amount, which leaves its softmax as it was, and every value is <= 0. So no pass over the pixel's classes is needed
//    to find its maximum, and no array of classes to hold them.
// 2. *Score*: a thread takes ROWS output pixels of one column, a run, which lie between the same four low-resolution
//    pixels. For every class it interpolates along x once for all of them, then has Z = sum 2^v, S = sum v 2^v and the
//    two largest v of each. Then H = ln2 (log2 Z - S / Z), p1 = 2^v1 / Z, p2 = 2^v2 / Z.
// 3. *Pool*, in an order that depends on the geometry alone. MEAN: compensated sums in every thread, then a tree. MAX:
//    the larger in place of the sum. TOP_TENTH: see `mean_of_largest`.
//
// There are no includes and no libraries: NVRTC compiles this on the user's machine, and the tests run the same text on
// the CPU (tests/kernels/emulator.cpp). Options: -DTHREADS, -DROWS, -DPOOLING, and -DHALF_LOGITS for float16.

#ifdef HALF_LOGITS
typedef unsigned short Logit;
#else
typedef float Logit;
#endif

// Bilinear interpolation along one axis: an output lies between low-resolution pixels `low` and `low` + 1 (the last one
// again past the edge), whose weight is `weight`.
struct Tap {
    int low;
    float weight;
};

// A sum of many floats that is as good as if it had been made in twice their precision.
struct Sum {
    float total;
    float lost;
};

constexpr int WARP = 32;
constexpr int WARPS = THREADS / WARP;
constexpr int NUM_SCORES = 3;             // entropy, least confidence, margin
constexpr int NUM_SUMS = NUM_SCORES + 1;  // and the number of unlabelled pixels
constexpr int MEAN = 0, MAX = 1, TOP_TENTH = 2;
constexpr int BLOCKS_PER_SM = POOLING == TOP_TENTH ? 9 : 10;  // at least: leaves a thread the 72 or 64 registers it needs
constexpr int INFINITY_BITS = 0x7f800000;
constexpr unsigned int ALL_LANES = 0xffffffffu;
constexpr int IGNORE = 255;
constexpr float LOG2_E = 1.4426950408889634f;
constexpr float LN2 = 0.6931471805599453f;
constexpr float LOWEST = -3.4028234663852886e38f;
constexpr float DEEPEST = -1e30f;  // a finite float32 minus another one may be infinite, and interpolate to NaN
constexpr float FAR = -32.0f;      // with v1 below this, v is too coarse and 2^v may vanish

#ifndef EMULATOR
__device__ float power_of_two(float v)  // relative error 2^-22, exact at 0; 0 where v < -126
{
    float power;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(power) : "f"(v));
    return power;
}

__device__ float logarithm(float z)  // to base two; relative error 2^-22, absolute between 1/2 and 2
{
    float log2_z;
    asm("lg2.approx.ftz.f32 %0, %1;" : "=f"(log2_z) : "f"(z));
    return log2_z;
}

__device__ float widen(unsigned short bits)
{
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
    return value;
}
#endif

__device__ float widen(float value) { return value; }

__device__ void add(Sum& sum, float value)
{
    const float corrected = value - sum.lost;
    const float total = sum.total + corrected;
    sum.lost = (total - sum.total) - corrected;
    sum.total = total;
}

// Two scores of the same region as one; NaN in either stays.
__device__ float join(float a, float b)
{
    if (POOLING == MAX)
        return b > a || b != b ? b : a;
    return a + b;
}

// The same with all that a thread has seen so far.
__device__ void join(Sum& sum, float value)
{
    if (POOLING == MEAN)
        add(sum, value);
    else
        sum.total = join(sum.total, value);  // under TOP_TENTH nothing but NaN is looked for
}

// The value of one class at one pixel. Every place that interpolates must round in the same way.
__device__ float lerp(float a, float b, float weight) { return fmaf(weight, b - a, a); }

// Stage `rows` x `columns` low-resolution pixels from (top, left) on: class c of pixel (i, j) to
// patch[c * plane + i * pitch + j].
__device__ void stage(
    const Logit* logits, int num_classes, int low_height, int low_width,
    int top, int left, int rows, int columns, float* patch, int plane, int pitch)
{
    const int low_plane = low_height * low_width;
    for (int pixel = threadIdx.x; pixel < rows * columns; pixel += THREADS) {
        const int i = pixel / columns;
        const int j = pixel - i * columns;
        const int y = min(top + i, low_height - 1);
        const int x = min(left + j, low_width - 1);
        const Logit* source = logits + y * low_width + x;
        float* staged = patch + i * pitch + j;
        float shift = LOWEST;
        float poison = 0.0f;
        for (int c = 0; c < num_classes; ++c) {
            const float value = widen(source[c * low_plane]);
            staged[c * plane] = value;
            shift = fmaxf(shift, value);
            poison += value * 0.0f;  // NaN where any class is not finite, which then spoils the whole pixel
        }
        shift += poison;
        for (int c = 0; c < num_classes; ++c) {
            const float below = staged[c * plane] - shift;
            staged[c * plane] = (below < DEEPEST ? DEEPEST : below) * LOG2_E;  // NaN stays
        }
    }
}

// Where the pixels of this block's region begin in `pixels`: an image's regions one after the other fill its plane.
__device__ long long region_start(const int* run_rows, const int* first_run, int height, int width, int x_begin)
{
    const int y_begin = run_rows[first_run[blockIdx.y]];
    const int y_end = run_rows[first_run[blockIdx.y + 1]];
    return (long long)blockIdx.z * height * width + y_begin * width + (y_end - y_begin) * x_begin;
}

__device__ long long plane_pixels(int height, int width) { return (long long)gridDim.z * height * width; }

// Of all threads of the block, the scores joined and the number added, in the same order every time. The first thread
// gets them, under TOP_TENTH every thread.
__device__ void join_block(float* sums, float* warp_sums)
{
    const int thread = threadIdx.x;
#pragma unroll
    for (int k = 0; k < NUM_SUMS; ++k) {
        for (int distance = WARP / 2; distance > 0; distance /= 2) {
            const float other = __shfl_down_sync(ALL_LANES, sums[k], distance);
            sums[k] = k < NUM_SCORES ? join(sums[k], other) : sums[k] + other;
        }
        if (thread % WARP == 0)
            warp_sums[k * WARPS + thread / WARP] = sums[k];
    }
    __syncthreads();  // the sums of the warps and the histogram are complete
    if (POOLING != TOP_TENTH && thread != 0)
        return;
#pragma unroll
    for (int k = 0; k < NUM_SUMS; ++k) {
        sums[k] = warp_sums[k * WARPS];
        for (int warp = 1; warp < WARPS; ++warp) {
            const float other = warp_sums[k * WARPS + warp];
            sums[k] = k < NUM_SCORES ? join(sums[k], other) : sums[k] + other;
        }
    }
}

// The mean of each score over its `wanted` largest of `count` pixels, score k of pixel i at pixels[k * plane + i], which
// this block has stored; `means` holds NaN beforehand where a pixel does. The bound that those largest reach is found by
// bisection of its bits, in whose order floats from zero on are: exact, whatever the order of the pixels. At any time
// more than `wanted` pixels are at least `low` (or all are, as at the start), and `above`, not more than are wanted, at
// least `high`. If those are too few in the end, then because others are equal, to `low`.
__device__ void mean_of_largest(
    const float* pixels, long long plane, int count, float wanted, float* warp_sums, float* means)
{
    int low[NUM_SCORES] = {0, 0, 0};
    int high[NUM_SCORES] = {INFINITY_BITS, INFINITY_BITS, INFINITY_BITS};
    float above[NUM_SCORES] = {0.0f, 0.0f, 0.0f};
    bool searching = true;
    while (searching) {  // all threads find the same
        float found[NUM_SUMS] = {0.0f, 0.0f, 0.0f, 0.0f};
        for (int i = threadIdx.x; i < count; i += THREADS)
#pragma unroll
            for (int k = 0; k < NUM_SCORES; ++k)
                found[k] += pixels[k * plane + i] >= __int_as_float(low[k] + (high[k] - low[k]) / 2);
        __syncthreads();  // everyone has read the sums before these
        join_block(found, warp_sums);
        searching = false;
#pragma unroll
        for (int k = 0; k < NUM_SCORES; ++k) {
            if (high[k] - low[k] <= 1 || above[k] >= wanted)
                continue;
            const int middle = low[k] + (high[k] - low[k]) / 2;
            if (found[k] > wanted) {
                low[k] = middle;
            } else {
                high[k] = middle;
                above[k] = found[k];
            }
            searching |= high[k] - low[k] > 1 && above[k] < wanted;
        }
    }

    Sum sums[NUM_SCORES] = {{0.0f, 0.0f}, {0.0f, 0.0f}, {0.0f, 0.0f}};
    for (int i = threadIdx.x; i < count; i += THREADS)
#pragma unroll
        for (int k = 0; k < NUM_SCORES; ++k) {
            const float value = pixels[k * plane + i];
            add(sums[k], value >= __int_as_float(high[k]) ? value : 0.0f);
        }
    float totals[NUM_SUMS] = {sums[0].total, sums[1].total, sums[2].total, 0.0f};
    __syncthreads();  // everyone has read the numbers found
    join_block(totals, warp_sums);
#pragma unroll
    for (int k = 0; k < NUM_SCORES; ++k)
        means[k] = means[k] * 0.0f + (totals[k] + (wanted - above[k]) * __int_as_float(low[k])) / wanted;
}

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS_PER_SM) region_scores(
    const Logit* __restrict__ logits,            // (N, num_classes, low_height, low_width)
    const unsigned char* __restrict__ labelled,  // (N, height, width), nonzero = already labelled; may be null
    const Tap* __restrict__ row_taps,            // (height,)
    const Tap* __restrict__ column_taps,         // (width,)
    const int* __restrict__ run_rows,            // (runs + 1,): first row of every run, then height
    const int* __restrict__ first_run,           // (regions down + 1,): first run of every row of regions, then runs
    float* __restrict__ scores,                  // (NUM_SUMS, N, R): pooled, and the share of labelled pixels
    unsigned char* __restrict__ label,           // (N, height, width)
    unsigned char* __restrict__ confidence,      // (N, height, width)
    unsigned int* __restrict__ histogram,        // (N, R, num_classes): pixels by class; may be null
    float* pixels,                               // (NUM_SCORES, N, height * width): of regions in turn; TOP_TENTH only
    int num_classes,
    int low_height,
    int low_width,
    int height,
    int width,
    int region_width,
    int tile_runs,     // a tile is this many runs
    int tile_width,    // by this many columns
    int patch_height,  // and lies on at most this many low-resolution rows
    int patch_width,   // and columns
    int exclude_labelled,
    float confidence_threshold)
{
    extern __shared__ float shared[];
    const int plane = patch_height * patch_width;
    float* patch = shared;
    float* warp_sums = patch + num_classes * plane;
    unsigned int* class_counts = reinterpret_cast<unsigned int*>(warp_sums + NUM_SUMS * WARPS);

    const int thread = threadIdx.x;
    const long long image = blockIdx.z;
    const long long region = (image * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
    const int run_begin = first_run[blockIdx.y];
    const int run_end = first_run[blockIdx.y + 1];
    const int x_begin = blockIdx.x * region_width;
    const int x_end = min(x_begin + region_width, width);
    const long long first_pixel = image * height * width;
    const Logit* image_logits = logits + image * num_classes * low_height * low_width;

    for (int c = thread; c < num_classes; c += THREADS)
        class_counts[c] = 0;

    Sum entropy_sum = {0.0f, 0.0f};
    Sum least_confidence_sum = {0.0f, 0.0f};
    Sum margin_sum = {0.0f, 0.0f};
    int unlabelled = 0;

    for (int tile_run = run_begin; tile_run < run_end; tile_run += tile_runs) {
        const int tile_run_end = min(tile_run + tile_runs, run_end);
        const int top = row_taps[run_rows[tile_run]].low;
        const int bottom = row_taps[run_rows[tile_run_end] - 1].low + 2;
        for (int tile_x = x_begin; tile_x < x_end; tile_x += tile_width) {
            const int tile_columns = min(tile_width, x_end - tile_x);
            const int left = column_taps[tile_x].low;
            const int right = column_taps[tile_x + tile_columns - 1].low + 2;
            __syncthreads();  // everyone has done with the previous patch
            stage(
                image_logits, num_classes, low_height, low_width,
                top, left, bottom - top, right - left, patch, plane, patch_width);
            __syncthreads();  // the patch is complete

            const int items = (tile_run_end - tile_run) * tile_columns;
            for (int item = thread; item < items; item += THREADS) {
                const int item_run = item / tile_columns;
                const int x = tile_x + item - item_run * tile_columns;
                const int run = tile_run + item_run;
                const int y = run_rows[run];
                const int rows = run_rows[run + 1] - y;  // 1 to ROWS
                const Tap column = column_taps[x];
                const float* corner = patch + (row_taps[y].low - top) * patch_width + column.low - left;

                float weight[ROWS], z[ROWS], s[ROWS], best[ROWS], second[ROWS];
                int best_class[ROWS];
#pragma unroll
                for (int p = 0; p < ROWS; ++p) {
                    weight[p] = row_taps[min(y + p, y + rows - 1)].weight;
                    z[p] = 0.0f;
                    s[p] = 0.0f;
                    best[p] = LOWEST;
                    second[p] = LOWEST;
                    best_class[p] = 0;
                }
#pragma unroll 2
                for (int c = 0; c < num_classes; ++c) {
                    const float* at = corner + c * plane;
                    const float above = lerp(at[0], at[1], column.weight);
                    const float below = lerp(at[patch_width], at[patch_width + 1], column.weight);
#pragma unroll
                    for (int p = 0; p < ROWS; ++p) {
                        const float v = lerp(above, below, weight[p]);
                        best_class[p] = v > best[p] ? c : best_class[p];  // strictly: the lowest class wins ties
                        second[p] = fmaxf(second[p], fminf(best[p], v));
                        best[p] = fmaxf(best[p], v);
                        const float power = power_of_two(v);
                        z[p] += power;
                        s[p] = fmaf(v, power, s[p]);
                    }
                }

                float run_entropy = 0.0f, run_least_confidence = 0.0f, run_margin = 0.0f;
#pragma unroll
                for (int p = 0; p < ROWS; ++p) {
                    if (p >= rows)
                        continue;
                    float origin = 0.0f;
                    if (best[p] < FAR && z[p] == z[p]) {  // neighbours that disagree much: again, from the best down
                        origin = best[p];
                        z[p] = 0.0f;
                        s[p] = 0.0f;
#pragma unroll 1
                        for (int c = 0; c < num_classes; ++c) {
                            const float* at = corner + c * plane;
                            const float above = lerp(at[0], at[1], column.weight);
                            const float below = lerp(at[patch_width], at[patch_width + 1], column.weight);
                            const float v = lerp(above, below, weight[p]) - origin;
                            const float power = power_of_two(v);
                            z[p] += power;
                            s[p] = fmaf(v, power, s[p]);
                        }
                    }
                    const float over_z = 1.0f / z[p];
                    const float entropy = (logarithm(z[p]) - s[p] * over_z) * LN2;
                    const float p1 = power_of_two(best[p] - origin) * over_z;
                    const float p2 = power_of_two(second[p] - origin) * over_z;

                    const long long pixel = first_pixel + (y + p) * width + x;
                    const int counts = labelled == nullptr || labelled[pixel] == 0;
                    unlabelled += counts;
                    // A product and not a branch: NaN must show where it is already labelled, too.
                    const float scored[NUM_SCORES] = {
                        counts * (entropy < 0.0f ? 0.0f : entropy),  // rounding may leave it just below
                        counts * (1.0f - p1),
                        counts * (1.0f - (p1 - p2))};
                    run_entropy = join(run_entropy, scored[0]);
                    run_least_confidence = join(run_least_confidence, scored[1]);
                    run_margin = join(run_margin, scored[2]);
                    if (POOLING == TOP_TENTH)  // to where the others of the region are, one after the other
#pragma unroll
                        for (int k = 0; k < NUM_SCORES; ++k)
                            pixels[k * plane_pixels(height, width) + region_start(run_rows, first_run, height, width, x_begin)
                                + (y + p - run_rows[run_begin]) * (x_end - x_begin) + x - x_begin] = scored[k];
                    // Both comparisons are false for NaN.
                    label[pixel] = p1 >= confidence_threshold ? best_class[p] : IGNORE;
                    confidence[pixel] = p1 > 0.0f ? int(fmaf(p1, 255.0f, 0.5f)) : 0;
                    if (histogram != nullptr && p1 > 0.0f)
                        atomicAdd(&class_counts[best_class[p]], 1u);
                }
                join(entropy_sum, run_entropy);
                join(least_confidence_sum, run_least_confidence);
                join(margin_sum, run_margin);
            }
        }
    }

    float sums[NUM_SUMS] = {entropy_sum.total, least_confidence_sum.total, margin_sum.total, float(unlabelled)};
    join_block(sums, warp_sums);
    const int region_height = run_rows[run_end] - run_rows[run_begin];
    const float area = float(region_height) * float(x_end - x_begin);
    const float counted = exclude_labelled ? fmaxf(sums[3], 1.0f) : area;
    if (POOLING == TOP_TENTH) {
        const float wanted = float((int(counted) + 9) / 10);
        mean_of_largest(
            pixels + region_start(run_rows, first_run, height, width, x_begin), plane_pixels(height, width),
            region_height * (x_end - x_begin), wanted, warp_sums, sums);
    }
    if (thread == 0) {
        const long long num_regions = (long long)gridDim.x * gridDim.y * gridDim.z;
        for (int k = 0; k < NUM_SCORES; ++k)
            scores[k * num_regions + region] = POOLING == MEAN ? sums[k] / counted : sums[k];
        scores[3 * num_regions + region] = (area - sums[3]) / area;
    }
    if (histogram != nullptr)
        for (int c = thread; c < num_classes; c += THREADS)
            histogram[region * num_classes + c] = class_counts[c];
}
