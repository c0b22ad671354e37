// Attention in bfloat16 for CPUs with AVX512-BF16: scores and softmax stay in the cache and in float32.
//
// Blocks of queries walk over blocks of keys and keep a running maximum and sum of each row (Milakov and Gimelshein
// 2018; Dao et al. 2022). One instruction multiplies 16 pairs of bfloat16 and adds both products to 16 floats, so
// whatever is summed over lies in pairs: the channels for the scores, the keys for the mixture of the values.

#include <immintrin.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx512bf16")))
#define INLINE TARGET static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 8")

enum {
    LANES = 16,      // floats in a register
    ROWS = 24,       // queries in a block: whole tiles of 4 and of 6
    KEYS = 256,      // keys in a block: their scores fit into the first cache
    WIDE = 5,        // registers in a row of a tile at most
    MAX_WIDTH = 512, // channels of a head
    MAX_COLUMNS = MAX_WIDTH / LANES,
};

typedef uint16_t bf16;

typedef struct {  // (batch, heads, rows, width) with width innermost; strides in elements
    bf16 *data;
    int64_t batch, head, row;
} View;

typedef struct {
    View q, k, v, out;
    int64_t batch, heads, queries, keys, width;
    float scale;
    int64_t threads;
    // Ours:
    int64_t chunks, next, failed;  // tasks are chunks of a head's queries; `next` is the first that nobody took
} Job;

typedef struct {
    int32_t q[ROWS][MAX_WIDTH / 2];             // pairs of channels
    float scores[ROWS][KEYS];                   // then, in the first half of each row, the weights as bfloat16
    __m512 mixed[ROWS][MAX_COLUMNS];
    float maximum[ROWS], sum[ROWS], shrink[ROWS];
} Block;

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t parts(int64_t whole, int64_t part) { return (whole + part - 1) / part; }

static bf16 *rows_of(const View *view, const Job *job, int64_t head) {
    return view->data + head / job->heads * view->batch + head % job->heads * view->head;
}

// Panels of 16 keys: register p of a panel holds the pair p of channels of each; keys beyond the last are 0.
TARGET static void pack_keys(const Job *job, int64_t head, __m512i *packed) {
    const bf16 *k = rows_of(&job->k, job, head);
    int64_t pairs = job->width / 2;
    __m512i zero = _mm512_setzero_si512();
    for (int64_t key = 0; key < job->keys; key += LANES) {
        __mmask16 there = job->keys - key < LANES ? (1 << (job->keys - key)) - 1 : 0xffff;
        int32_t offsets[LANES];
        for (int i = 0; i < LANES; i++) offsets[i] = i * (int32_t)job->k.row;
        __m512i index = _mm512_loadu_si512(offsets);
        for (int64_t p = 0; p < pairs; p++)
            *packed++ = _mm512_mask_i32gather_epi32(zero, there, index, k + key * job->k.row + 2 * p, 2);
    }
}

// Pairs of keys: register c of a pair holds 16 channels of both; keys and channels beyond the last are 0.
TARGET static void pack_values(const Job *job, int64_t head, __m512i *packed) {
    const bf16 *v = rows_of(&job->v, job, head);
    int64_t keys = parts(job->keys, LANES) * LANES;
    for (int64_t key = 0; key < keys; key += 2)
        for (int64_t c = 0; c < job->width; c += LANES) {
            __mmask16 there = job->width - c < LANES ? (1 << (job->width - c)) - 1 : 0xffff;
            const bf16 *row = v + key * job->v.row + c;
            __m256i first = _mm256_maskz_loadu_epi16(key < job->keys ? there : 0, row);
            __m256i second = _mm256_maskz_loadu_epi16(key + 1 < job->keys ? there : 0, row + job->v.row);
            __m512i high = _mm512_slli_epi32(_mm512_cvtepu16_epi32(second), 16);
            *packed++ = _mm512_or_si512(_mm512_cvtepu16_epi32(first), high);
        }
}

// acc[r][c] += the sum over p of the pair left[r][p], in all lanes, times the pairs right[p][c]. Sizes of a tile are
// constants where this is inlined, so that `acc` stays in registers.
INLINE void multiply(int rows, int columns, __m512 acc[][WIDE], const int32_t *left, int64_t left_stride,
                     const __m512i *right, int64_t right_stride, int64_t column_stride, int64_t pairs) {
    for (int64_t p = 0; p < pairs; p++) {
        __m512bh b[WIDE];
        UNROLL for (int c = 0; c < columns; c++) b[c] = (__m512bh)right[p * right_stride + c * column_stride];
        UNROLL for (int r = 0; r < rows; r++) {
            __m512bh a = (__m512bh)_mm512_set1_epi32(left[r * left_stride + p]);
            UNROLL for (int c = 0; c < columns; c++) acc[r][c] = _mm512_dpbf16_ps(acc[r][c], a, b[c]);
        }
    }
}

INLINE void score_tile(int columns, Block *block, int row, int panel, const __m512i *keys, int64_t pairs) {
    enum { R = 6 };
    __m512 acc[R][WIDE];
    UNROLL for (int r = 0; r < R; r++)
        UNROLL for (int c = 0; c < columns; c++) acc[r][c] = _mm512_setzero_ps();
    multiply(R, columns, acc, block->q[row], MAX_WIDTH / 2, keys + panel * pairs, 1, pairs, pairs);
    UNROLL for (int r = 0; r < R; r++)
        UNROLL for (int c = 0; c < columns; c++)
            _mm512_store_ps(&block->scores[row + r][(panel + c) * LANES], acc[r][c]);
}

// The scores of the block's queries and `panels` panels of keys.
TARGET static void score(Block *block, const __m512i *keys, int panels, int64_t pairs) {
    for (int panel = 0; panel < panels; panel += 4)
        for (int row = 0; row < ROWS; row += 6) switch (panels - panel) {
            case 1: score_tile(1, block, row, panel, keys, pairs); break;
            case 2: score_tile(2, block, row, panel, keys, pairs); break;
            case 3: score_tile(3, block, row, panel, keys, pairs); break;
            default: score_tile(4, block, row, panel, keys, pairs);
        }
}

INLINE void mix_tile(int rows, int columns, Block *block, int row, int column, const __m512i *values, int64_t width,
                     int64_t pairs) {
    __m512 acc[6][WIDE];
    UNROLL for (int r = 0; r < rows; r++)
        UNROLL for (int c = 0; c < columns; c++)
            acc[r][c] = _mm512_mul_ps(block->mixed[row + r][column + c], _mm512_set1_ps(block->shrink[row + r]));
    multiply(rows, columns, acc, (const int32_t *)block->scores[row], KEYS, values + column, width, 1, pairs);
    UNROLL for (int r = 0; r < rows; r++)
        UNROLL for (int c = 0; c < columns; c++) block->mixed[row + r][column + c] = acc[r][c];
}

// The mixture of the values so far, scaled to the new maximum, plus that of the next `pairs` pairs of keys.
TARGET static void mix(Block *block, const __m512i *values, int columns, int64_t pairs) {
    int wide = columns % 5 ? 4 : 5;
    for (int column = 0; column < columns; column += wide)
        for (int row = 0; row < ROWS; row += wide == 5 ? 4 : 6) switch (least(columns - column, wide)) {
            case 1: mix_tile(6, 1, block, row, column, values, columns, pairs); break;
            case 2: mix_tile(6, 2, block, row, column, values, columns, pairs); break;
            case 3: mix_tile(6, 3, block, row, column, values, columns, pairs); break;
            case 4: mix_tile(6, 4, block, row, column, values, columns, pairs); break;
            default: mix_tile(4, 5, block, row, column, values, columns, pairs);
        }
}

// 2 to the power of x <= 0, to 1e-4 of it: a polynomial between whole numbers. Its result is rounded to 4e-3.
INLINE __m512 power(__m512 x) {
    __m512 whole = _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m512 rest = _mm512_sub_ps(x, whole);
    __m512 p = _mm512_fmadd_ps(_mm512_set1_ps(0.05550411f), rest, _mm512_set1_ps(0.24022651f));
    p = _mm512_fmadd_ps(p, rest, _mm512_set1_ps(0.69314718f));
    p = _mm512_fmadd_ps(p, rest, _mm512_set1_ps(1.0f));
    return _mm512_scalef_ps(p, whole);
}

// Turn scores into weights: 2 to the power of `scale` times (score - the row's maximum), which may grow here.
TARGET static void weigh(Block *block, int panels, float scale) {
    for (int row = 0; row < ROWS; row++) {
        float *scores = block->scores[row];
        __m512 top = _mm512_load_ps(scores);
        for (int p = 1; p < panels; p++) top = _mm512_max_ps(top, _mm512_load_ps(scores + p * LANES));
        float before = block->maximum[row], maximum = fmaxf(before, _mm512_reduce_max_ps(top));
        __m512 factor = _mm512_set1_ps(scale), shift = _mm512_set1_ps(maximum * scale), sum = _mm512_setzero_ps();
        for (int p = 0; p < panels; p += 2) {
            __m512 one = power(_mm512_fmsub_ps(_mm512_load_ps(scores + p * LANES), factor, shift));
            __m512 two = _mm512_setzero_ps();
            if (p + 1 < panels) two = power(_mm512_fmsub_ps(_mm512_load_ps(scores + (p + 1) * LANES), factor, shift));
            sum = _mm512_add_ps(sum, _mm512_add_ps(one, two));
            _mm512_store_si512((bf16 *)scores + p * LANES, (__m512i)_mm512_cvtne2ps_pbh(two, one));
        }
        float shrink = exp2f((before - maximum) * scale);
        block->maximum[row] = maximum;
        block->shrink[row] = shrink;
        block->sum[row] = block->sum[row] * shrink + _mm512_reduce_add_ps(sum);
    }
}

TARGET static void attend_block(const Job *job, int64_t head, int64_t row, Block *block, const __m512i *keys,
                                const __m512i *values) {
    int64_t width = job->width, pairs = width / 2, rows = least(ROWS, job->queries - row);
    int columns = parts(width, LANES);
    const bf16 *q = rows_of(&job->q, job, head) + row * job->q.row;
    for (int64_t r = 0; r < ROWS; r++) {
        if (r < rows) memcpy(block->q[r], q + r * job->q.row, width * sizeof(bf16));
        else memset(block->q[r], 0, width * sizeof(bf16));
        for (int c = 0; c < columns; c++) block->mixed[r][c] = _mm512_setzero_ps();
        block->maximum[r] = -INFINITY;
        block->sum[r] = 0;
    }
    float scale = job->scale * 1.44269504f;
    for (int64_t key = 0; key < job->keys; key += KEYS) {
        int64_t count = least(KEYS, job->keys - key);
        int panels = parts(count, LANES);
        score(block, keys + key / LANES * pairs, panels, pairs);
        for (int64_t r = 0; r < ROWS; r++)
            for (int64_t beyond = count; beyond < panels * LANES; beyond++) block->scores[r][beyond] = -INFINITY;
        weigh(block, panels, scale);
        mix(block, values + key / 2 * columns, columns, panels * LANES / 2);
    }
    bf16 *out = rows_of(&job->out, job, head) + row * job->out.row;
    for (int64_t r = 0; r < rows; r++)
        for (int c = 0; c < columns; c++) {
            __mmask16 there = width - c * LANES < LANES ? (1 << (width - c * LANES)) - 1 : 0xffff;
            __m512 mean = _mm512_div_ps(block->mixed[r][c], _mm512_set1_ps(block->sum[r]));
            _mm256_mask_storeu_epi16(out + r * job->out.row + c * LANES, there, (__m256i)_mm512_cvtneps_pbh(mean));
        }
}

// The work of one thread: take chunks of a head's queries until none is left.
TARGET static void work(void *data) {
    Job *job = data;
    int64_t columns = parts(job->width, LANES), padded = parts(job->keys, LANES) * LANES;
    int64_t keys = padded / LANES * job->width / 2, values = padded / 2 * columns;
    __m512i *packed = aligned_alloc(64, (keys + values) * sizeof(__m512i));
    Block *block = aligned_alloc(64, parts(sizeof(Block), 64) * 64);
    int64_t tasks = job->batch * job->heads * job->chunks, blocks = parts(job->queries, ROWS), held = -1;
    if (!packed || !block) __atomic_store_n(&job->failed, 1, __ATOMIC_RELAXED);
    else
        for (int64_t task; (task = __atomic_fetch_add(&job->next, 1, __ATOMIC_RELAXED)) < tasks;) {
            int64_t head = task / job->chunks, chunk = task % job->chunks;
            if (head != held) {
                pack_keys(job, head, packed);
                pack_values(job, head, packed + keys);
                held = head;
            }
            int64_t end = blocks * (chunk + 1) / job->chunks;
            for (int64_t b = blocks * chunk / job->chunks; b < end; b++)
                attend_block(job, head, b * ROWS, block, packed, packed + keys);
        }
    free(packed);
    free(block);
}

// torch's worker threads: a second pool would compete with them for the cores.
extern void GOMP_parallel(void (*work)(void *), void *data, unsigned threads, unsigned flags) __attribute__((weak));

// Whether this processor, and this process, can run `attend`.
int attend_supported(void) {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bf16") && GOMP_parallel;
}

// softmax(q k^T * scale) v; 0, or 1 if memory ran out. The width is even and at most MAX_WIDTH.
int attend(Job *job) {
    int64_t heads = job->batch * job->heads, blocks = parts(job->queries, ROWS);
    job->next = job->failed = 0;
    job->chunks = least(blocks, parts(4 * job->threads, heads));
    GOMP_parallel(work, job, job->threads, 0);
    return job->failed;
}
