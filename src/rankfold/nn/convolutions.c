/* Convolutions of bfloat16 images that lie channels last, forwards and backwards, on the matrix unit (AMX) of
   newer processors: kernels of 3x3 with one pixel of padding or 1x1 without, strides of 1 or 2, channels and
   outputs in sixteens.

   The unit multiplies tiles: sums[16][16] += a[16][32] b[32][16], in float of bfloat16. Rows of `a` may lie any
   distance apart; rows of `b` hold two steps of the sum side by side, b[k / 2][n][k % 2]. Two tiles of `a` and two
   of `b` make four of the sums, so that each is read once for two products, and what is read comes from the
   second-level cache: images are packed one at a time, or as many as fill a third of that cache.

   Outputs and gradients of inputs. An image is packed with a frame of zeros, so that the pixels under one tap of
   the kernel (kh, kw) for consecutive outputs lie a constant distance apart, and a tile of `a` is sixteen of them,
   in place: nothing is copied for each tap. As the packed image has `pitch` pixels a row, output q = m pitch + n is
   that of row m and column n, and those of the columns that outputs do not have are not written. A stride of 2
   splits the image into four planes, of even and odd rows and columns, each of which has a stride of 1; the
   gradient of its inputs is a product for each of the four planes of the result, with the taps that reach it. Of
   small images, where columns that are not written would be many, each kw has a plane of its own without them.
   A step of the sum is 32 neighbouring values: channels of one pixel, or 16 channels of two. While an image is
   multiplied, the next one is fetched from memory. A bias, another image of the size of the outputs and a ReLU are
   taken in while sums are in float, before they are rounded and written: none of them passes over memory again.

   Gradients of weights. dw[o][tap][c] = sum over pixels q of dy[q][o] x[q under tap][c]: tiles of `a` are dy
   transposed, 16 outputs of 32 pixels, and tiles of `b` are two pixels side by side, of a plane for each kw, in
   which kh is a distance of whole rows. Images are cut into parts whose number depends on sizes alone, and the
   sums of the parts are added in order, so that results do not depend on the number of threads.

   Numbers that are not finite. Where 16 channels of a tap have no partner, zeros in place of weights meet the next
   pixel, and zero times infinity is NaN. So outputs are not finite wherever a tap sees such a number, and some
   others of the same image may be NaN, as may gradients of weights of other channels; outputs of other images are
   as they should be.

   Compiled for processors without the unit this file has no functions, and callers use torch. */

#if defined(__AMX_TILE__) && defined(__AMX_BF16__) && defined(__AVX512BF16__) && defined(__AVX512BW__)

#include <immintrin.h>
#include <math.h>
#include <omp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define TILE 16       /* rows of a tile, and its columns of four bytes */
#define DEPTH 32      /* steps of a sum in a tile */
#define VALUES 512    /* bfloat16 values of a tile */
#define TAPS 9        /* of a kernel, at most */
#define MOST_CHANNELS 1024
#define MOST_STEPS (TAPS * MOST_CHANNELS / DEPTH)
#define NARROW 8      /* outputs a row, up to which each kw has a plane of its own */
#define TASKS 8       /* of the gradients of weights, where there are as many images */
#define CACHE 600000  /* bytes of packed images that stay in the second-level cache */

typedef uint16_t bfloat16;

/* A convolution; also in convolution_kernels.py. */
typedef struct {
    int64_t images, height, width, channels, outputs, kernel, stride;
} Shape;

static inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t upwards(int64_t a, int64_t b) { return (a + b - 1) / b; }
static inline int64_t out_size(int64_t size, const Shape *s) { return (size - 1) / s->stride + 1; }

/* Whether the system lets this process use the unit: Linux wants to be asked once. */
int convolutions_ready(void) { return syscall(SYS_arch_prctl, 0x1023, 18) == 0; }

/* Eight tiles of 16 rows of 64 bytes. */
static const struct {
    uint8_t palette, start, reserved[14];
    uint16_t bytes[16];
    uint8_t rows[16];
} TILES = {
    .palette = 1,
    .bytes = {64, 64, 64, 64, 64, 64, 64, 64},
    .rows = {TILE, TILE, TILE, TILE, TILE, TILE, TILE, TILE},
};

/* Compilers do not know that tiles are read from memory: what is to be read has to be there. */
static inline void all_written(void) { __asm__ volatile("" : : "r"(&TILES) : "memory"); }

static void begin_tiles(void) {
    all_written();
    _tile_loadconfig(&TILES);
}

/* rows[i][j] becomes rows[j][i]. */
static inline void transpose(__m512i rows[TILE]) {
    __m512i pairs[TILE];
    for (int i = 0; i < TILE; i += 2) {
        pairs[i] = _mm512_unpacklo_epi32(rows[i], rows[i + 1]);
        pairs[i + 1] = _mm512_unpackhi_epi32(rows[i], rows[i + 1]);
    }
    /* Of four rows: a quarter of each result, for the columns 4 j + i. */
    for (int i = 0; i < TILE; i += 4) {
        rows[i] = _mm512_unpacklo_epi64(pairs[i], pairs[i + 2]);
        rows[i + 1] = _mm512_unpackhi_epi64(pairs[i], pairs[i + 2]);
        rows[i + 2] = _mm512_unpacklo_epi64(pairs[i + 1], pairs[i + 3]);
        rows[i + 3] = _mm512_unpackhi_epi64(pairs[i + 1], pairs[i + 3]);
    }
    for (int i = 0; i < 4; i++) {
        pairs[i] = _mm512_shuffle_i32x4(rows[i], rows[i + 4], 0x88);
        pairs[i + 4] = _mm512_shuffle_i32x4(rows[i], rows[i + 4], 0xdd);
        pairs[i + 8] = _mm512_shuffle_i32x4(rows[i + 8], rows[i + 12], 0x88);
        pairs[i + 12] = _mm512_shuffle_i32x4(rows[i + 8], rows[i + 12], 0xdd);
    }
    for (int i = 0; i < 4; i++) {
        rows[i] = _mm512_shuffle_i32x4(pairs[i], pairs[i + 8], 0x88);
        rows[i + 8] = _mm512_shuffle_i32x4(pairs[i], pairs[i + 8], 0xdd);
        rows[i + 4] = _mm512_shuffle_i32x4(pairs[i + 4], pairs[i + 12], 0x88);
        rows[i + 12] = _mm512_shuffle_i32x4(pairs[i + 4], pairs[i + 12], 0xdd);
    }
}

static inline __m512i widened(const bfloat16 *values) {
    return _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)values));
}

/* 16 values of each of two pixels side by side; NULL is a pixel of zeros. */
static inline __m512i side_by_side(const bfloat16 *first, const bfloat16 *second) {
    __m512i low = first != NULL ? widened(first) : _mm512_setzero_si512();
    __m512i high = second != NULL ? widened(second) : _mm512_setzero_si512();
    return _mm512_or_si512(low, _mm512_slli_epi32(high, 16));
}

static inline __m512i rounded(const float *low, const float *high) {
    return (__m512i)_mm512_cvtne2ps_pbh(_mm512_loadu_ps(high), _mm512_loadu_ps(low));
}

/* ---- Outputs, and gradients of inputs. */

/* 32 neighbouring values of a packed image: two halves of 16 channels from `channel` on, each under a tap of the
   kernel, or none, where the weights are zero. */
typedef struct {
    int64_t offset;
    int tap[2];
    int64_t channel[2];
} Step;

/* Outputs on a grid of rows x columns: output (m, n) of an image is written from `first` + m row_step + n pixel_step
   on, in values. */
typedef struct {
    int64_t rows, columns, first, row_step, pixel_step;
    int64_t steps;
    Step step[MOST_STEPS];
    const bfloat16 *weights; /* [tile of outputs][step][VALUES] */
} Product;

/* How an image is packed: planes of rows x pitch pixels, of every `stride`-th row and column, from those on that lie
   `before` pixels before the first; `across` planes beside each other. */
typedef struct {
    int64_t height, width, channels, stride, before, down, across, rows, pitch;
} Packing;

static int64_t packed_values(const Packing *p) {
    /* Tiles of the last outputs reach beyond the end. */
    return (p->down * p->across * p->rows * p->pitch + 5 * TILE) * p->channels;
}

static void pack_image(const bfloat16 *x, bfloat16 *to, const Packing *p) {
    size_t bytes = p->channels * sizeof *x;
    for (int64_t a = 0; a < p->down; a++)
        for (int64_t b = 0; b < p->across; b++)
            for (int64_t r = 0; r < p->rows; r++) {
                int64_t row = r * p->stride + a - p->before;
                int64_t n = 0;
                if (row >= 0 && row < p->height) {
                    const bfloat16 *from = x + row * p->width * p->channels;
                    for (; b + n * p->stride < p->before; n++, to += p->channels) memset(to, 0, bytes);
                    int64_t column = b + n * p->stride - p->before;
                    int64_t count = smaller(p->pitch - n, upwards(p->width - column, p->stride));
                    from += column * p->channels;
                    if (p->stride == 1) {
                        memcpy(to, from, count * bytes);
                    } else {
                        for (int64_t i = 0; i < count; i++)
                            memcpy(to + i * p->channels, from + i * p->stride * p->channels, bytes);
                    }
                    n += count;
                    to += count * p->channels;
                }
                memset(to, 0, (p->pitch - n) * bytes);
                to += (p->pitch - n) * p->channels;
            }
    memset(to, 0, 5 * TILE * bytes);
}

/* Adds the steps of a tap to a product; of 16 channels, those of two taps whose pixels are neighbours are one step,
   where the step before is of the other one. */
static void add_tap(Product *product, int tap, int64_t offset, int64_t channels) {
    Step *last = product->step + (product->steps > 0 ? product->steps - 1 : 0);
    if (product->steps > 0 && channels == TILE && last->tap[1] < 0 && last->offset + channels == offset) {
        last->tap[1] = tap;
        return;
    }
    for (int64_t c = 0; c < channels; c += DEPTH) {
        int second = c + TILE < channels ? tap : -1;
        product->step[product->steps++] = (Step){offset + c, {tap, second}, {c, c + TILE < channels ? c + TILE : 0}};
    }
}

/* Weights of a product whose outputs are those of the convolution, of w[outputs][taps][channels]. */
static void pack_weights(const float *w, bfloat16 *to, const Product *product, const Shape *s) {
    int64_t taps = s->kernel * s->kernel;
    for (int64_t o = 0; o < s->outputs; o += TILE)
        for (int64_t i = 0; i < product->steps; i++, to += VALUES) {
            const Step *step = product->step + i;
            const float zeros[TILE] = {0};
            __m512i rows[TILE];
            for (int64_t n = 0; n < TILE; n++) {
                const float *half[2];
                for (int h = 0; h < 2; h++) {
                    half[h] = zeros;
                    if (step->tap[h] >= 0)
                        half[h] = w + ((o + n) * taps + step->tap[h]) * s->channels + step->channel[h];
                }
                rows[n] = rounded(half[0], half[1]);
            }
            transpose(rows);
            for (int64_t r = 0; r < TILE; r++) _mm512_storeu_si512(to + r * DEPTH, rows[r]);
        }
}

/* Those of a product whose outputs are the channels of the convolution, and whose channels are its outputs. */
static void pack_weights_backward(const float *w, bfloat16 *to, const Product *product, const Shape *s) {
    int64_t taps = s->kernel * s->kernel;
    for (int64_t c = 0; c < s->channels; c += TILE)
        for (int64_t i = 0; i < product->steps; i++, to += VALUES)
            for (int64_t r = 0; r < TILE; r++) {
                int half = r >= TILE / 2;
                __m512i row = _mm512_setzero_si512();
                if (product->step[i].tap[half] >= 0) {
                    int64_t o = product->step[i].channel[half] + 2 * r % TILE;
                    const float *from = w + (o * taps + product->step[i].tap[half]) * s->channels + c;
                    __m512i both = rounded(from, from + taps * s->channels);
                    row = side_by_side((bfloat16 *)&both, (bfloat16 *)&both + TILE);
                }
                _mm512_storeu_si512(to + r * DEPTH, row);
            }
}

/* Lines of memory that are fetched while the unit multiplies: of the next image, and for its outputs. */
typedef struct {
    const char *read, *write;
    int64_t read_lines, write_lines; /* in a step of a sum */
} Ahead;

static inline void fetch(Ahead *ahead) {
    for (int64_t i = 0; i < ahead->read_lines; i++, ahead->read += 64) _mm_prefetch(ahead->read, _MM_HINT_T1);
    for (int64_t i = 0; i < ahead->write_lines; i++, ahead->write += 64) __builtin_prefetch(ahead->write, 1, 2);
}

/* sums[32][32], of 32 outputs of each of 32 pixels. */
static inline void multiply_wide(const bfloat16 *a, int64_t channels, const bfloat16 *b, const Product *product,
                                 float *sums, Ahead *ahead) {
    int64_t steps = product->steps, stride = channels * sizeof *a;
    const bfloat16 *next = b + steps * VALUES;
    all_written();
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int64_t i = 0; i < steps; i++) {
        const bfloat16 *from = a + product->step[i].offset;
        fetch(ahead);
        _tile_loadd(4, from, stride);
        _tile_loadd(6, b + i * VALUES, 64);
        _tile_loadd(7, next + i * VALUES, 64);
        _tile_loadd(5, from + TILE * channels, stride);
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
    }
    _tile_stored(0, sums, 128);
    _tile_stored(1, sums + TILE, 128);
    _tile_stored(2, sums + TILE * 32, 128);
    _tile_stored(3, sums + TILE * 32 + TILE, 128);
}

/* sums[64][16], of 16 outputs of each of 64 pixels. */
static inline void multiply_long(const bfloat16 *a, int64_t channels, const bfloat16 *b, const Product *product,
                                 float *sums, Ahead *ahead) {
    int64_t stride = channels * sizeof *a;
    all_written();
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int64_t i = 0; i < product->steps; i++) {
        const bfloat16 *from = a + product->step[i].offset;
        fetch(ahead);
        _tile_loadd(7, b + i * VALUES, 64);
        _tile_loadd(4, from, stride);
        _tile_loadd(5, from + TILE * channels, stride);
        _tile_loadd(6, from + 2 * TILE * channels, stride);
        _tile_dpbf16ps(0, 4, 7);
        _tile_dpbf16ps(1, 5, 7);
        _tile_dpbf16ps(2, 6, 7);
        _tile_loadd(4, from + 3 * TILE * channels, stride);
        _tile_dpbf16ps(3, 4, 7);
    }
    _tile_stored(0, sums, 64);
    _tile_stored(1, sums + TILE * TILE, 64);
    _tile_stored(2, sums + 2 * TILE * TILE, 64);
    _tile_stored(3, sums + 3 * TILE * TILE, 64);
}

/* What becomes of sums before they are written: `bias` (O) is added, then `added`, in values an image that lies as
   the outputs do, and what is below `lowest` becomes that. Either may be NULL. */
typedef struct {
    const float *bias;
    const bfloat16 *added;
    float lowest;
} Finish;

/* Of two numbers of which one is not, _mm512_max_ps gives the second: NaN stays NaN. */
static inline __m512 finished(const float *sums, __m512 bias, const bfloat16 *added, __m512 lowest) {
    __m512 values = _mm512_add_ps(_mm512_loadu_ps(sums), bias);
    if (added != NULL) values = _mm512_add_ps(values, (__m512)_mm512_slli_epi32(widened(added), 16));
    return _mm512_max_ps(lowest, values);
}

/* Writes `width` outputs, 16 or 32, of each of `count` pixels from pixel q of the grid on. */
static inline void write_outputs(const float *sums, int64_t width, int64_t q, int64_t count, int64_t pitch,
                                 const Finish *finish, const Product *product, bfloat16 *y) {
    int64_t m = q / pitch, n = q % pitch, step = product->pixel_step;
    __m512 low = _mm512_setzero_ps(), high = low, lowest = _mm512_set1_ps(finish->lowest);
    if (finish->bias != NULL) {
        low = _mm512_loadu_ps(finish->bias);
        if (width > TILE) high = _mm512_loadu_ps(finish->bias + TILE);
    }
    while (count > 0 && m < product->rows) {
        int64_t run = smaller(count, product->columns - n), rest = smaller(count, pitch - n);
        bfloat16 *to = y + m * product->row_step + n * step;
        const bfloat16 *added = finish->added != NULL ? finish->added + (to - y) : NULL;
        for (int64_t i = 0; i < run; i++, to += step) {
            const bfloat16 *other = added != NULL ? added + i * step : NULL;
            __m512 first = finished(sums + i * width, low, other, lowest);
            if (width > TILE) {
                if (other != NULL) other += TILE;
                __m512 second = finished(sums + i * width + TILE, high, other, lowest);
                _mm512_storeu_si512(to, (__m512i)_mm512_cvtne2ps_pbh(second, first));
            } else {
                _mm256_storeu_si256((__m256i *)to, (__m256i)_mm512_cvtneps_pbh(first));
            }
        }
        sums += rest * width;
        count -= rest;
        n += rest;
        if (n == pitch) n = 0, m++;
    }
}

/* All outputs of a packed image. */
static void multiply_image(const bfloat16 *packed, const Packing *p, const Product *product, int64_t outputs,
                           const Finish *finish, bfloat16 *y, Ahead *ahead) {
    float sums[1024] __attribute__((aligned(64)));
    int64_t end = (product->rows - 1) * p->pitch + product->columns;
    y += product->first;
    for (int64_t o = 0; o < outputs;) {
        const bfloat16 *b = product->weights + o / TILE * product->steps * VALUES;
        int64_t width = smaller(2 * TILE, outputs - o), count = 1024 / width;
        Finish part = *finish;
        if (part.bias != NULL) part.bias += o;
        if (part.added != NULL) part.added += product->first + o;
        for (int64_t q = 0; q < end; q += count) {
            if (width > TILE)
                multiply_wide(packed + q * p->channels, p->channels, b, product, sums, ahead);
            else
                multiply_long(packed + q * p->channels, p->channels, b, product, sums, ahead);
            write_outputs(sums, width, q, count, p->pitch, &part, product, y + o);
        }
        o += width;
    }
}

static Packing forward_packing(const Shape *s) {
    int64_t rows = out_size(s->height, s), columns = out_size(s->width, s), more = s->kernel / 2;
    int narrow = more && columns <= NARROW && s->channels % DEPTH == 0;
    return (Packing){
        .height = s->height, .width = s->width, .channels = s->channels, .stride = s->stride, .before = more,
        .down = more ? s->stride : 1, .across = narrow ? s->kernel : more ? s->stride : 1,
        .rows = rows + (s->kernel - 1) / s->stride,
        /* The frame on the right of a row is that on the left of the next. */
        .pitch = narrow ? columns : columns + more,
    };
}

static void forward_product(Product *product, const Packing *p, const Shape *s) {
    int64_t width = out_size(s->width, s);
    *product = (Product){
        .rows = out_size(s->height, s), .columns = width, .row_step = width * s->outputs, .pixel_step = s->outputs,
    };
    int narrow = p->across == s->kernel;
    for (int64_t kh = 0; kh < s->kernel; kh++)
        /* Taps of one plane follow each other. */
        for (int64_t b = 0; b < p->across; b++)
            for (int64_t kw = b; kw < s->kernel; kw += narrow ? s->kernel : p->stride) {
                int64_t plane = kh % p->stride * p->across + b;
                int64_t pixel = (plane * p->rows + kh / p->stride) * p->pitch + (narrow ? 0 : kw / p->stride);
                add_tap(product, kh * s->kernel + kw, pixel * p->channels, p->channels);
            }
}

/* The convolution that is the gradient of the inputs, for a stride of 1: its taps are those mirrored. */
static Shape mirrored(const Shape *s) {
    Shape result = *s;
    result.channels = s->outputs;
    result.outputs = s->channels;
    return result;
}

static Packing backward_packing(const Shape *s) {
    if (s->stride == 1) {
        Shape other = mirrored(s);
        return forward_packing(&other);
    }
    int64_t rows = out_size(s->height, s), columns = out_size(s->width, s), more = s->kernel / 2;
    return (Packing){
        .height = rows, .width = columns, .channels = s->outputs, .stride = 1, .down = 1, .across = 1,
        .rows = rows + more, .pitch = columns + more,
    };
}

/* Products of the gradient of the inputs; how many there are. */
static int backward_products(Product *product, const Packing *p, const Shape *s) {
    if (s->stride == 1) {
        Shape other = mirrored(s);
        forward_product(product, p, &other);
        for (int64_t i = 0; i < product->steps; i++)
            for (int h = 0; h < 2; h++)
                if (product->step[i].tap[h] >= 0)
                    product->step[i].tap[h] = s->kernel * s->kernel - 1 - product->step[i].tap[h];
        return 1;
    }
    int count = 0;
    /* Input row 2 m + e is under tap kh for output row (2 m + e + kernel / 2 - kh) / 2, where that is whole. */
    int64_t more = s->kernel / 2;
    for (int64_t e = 0; e < 2; e++)
        for (int64_t f = 0; f < 2; f++) {
            Product *one = product + count;
            *one = (Product){
                .rows = (s->height - e + 1) / 2, .columns = (s->width - f + 1) / 2,
                .first = (e * s->width + f) * s->channels,
                .row_step = 2 * s->width * s->channels, .pixel_step = 2 * s->channels,
            };
            for (int64_t kh = s->kernel - 1; kh >= 0; kh--)
                for (int64_t kw = s->kernel - 1; kw >= 0; kw--) {
                    int64_t down = e + more - kh, right = f + more - kw;
                    if (down % 2 || right % 2 || down < 0 || right < 0) continue;
                    int64_t pixel = down / 2 * p->pitch + right / 2;
                    add_tap(one, kh * s->kernel + kw, pixel * p->channels, p->channels);
                }
            if (one->steps > 0 && one->rows > 0 && one->columns > 0) count++;
        }
    return count;
}

static int64_t in_lines(int64_t values) { return upwards(values, VALUES) * VALUES; }

/* Products of packed images with weights, for all images; -1 where memory is lacking. */
static int multiply_images(const bfloat16 *x, const float *w, const Finish *finish, bfloat16 *y, const Shape *s,
                           const Packing *p, Product *products, int count, int backward, int threads) {
    int64_t outputs = backward ? s->channels : s->outputs;
    int64_t from = p->height * p->width * p->channels;
    int64_t to = backward ? s->height * s->width * outputs : products->rows * products->row_step;
    int64_t steps = 0, fetches = 0, each = in_lines(packed_values(p));
    for (int i = 0; i < count; i++) {
        steps += products[i].steps;
        fetches += products[i].steps * (products[i].rows * p->pitch / 32) * upwards(outputs, 32);
    }
    int64_t read_lines = upwards(from / 32, fetches + 1), write_lines = upwards(to / 32, fetches + 1);
    int64_t weights = outputs / TILE * steps * VALUES;
    bfloat16 *memory = aligned_alloc(64, (weights + threads * each) * sizeof *memory);
    if (memory == NULL) return -1;
    bfloat16 *packed = memory;
    for (int i = 0; i < count; i++) {
        if (backward)
            pack_weights_backward(w, packed, products + i, s);
        else
            pack_weights(w, packed, products + i, s);
        products[i].weights = packed;
        packed += outputs / TILE * products[i].steps * VALUES;
    }
    _Pragma("omp parallel num_threads(threads) if (threads > 1)")
    {
        bfloat16 *own = packed + omp_get_thread_num() * each;
        begin_tiles();
        _Pragma("omp for")
        for (int64_t image = 0; image < s->images; image++) {
            pack_image(x + image * from, own, p);
            if (backward && s->kernel < s->stride) memset(y + image * to, 0, to * sizeof *y);
            Ahead ahead = {(char *)(x + (image + 1) * from), (char *)(y + (image + 1) * to), read_lines, write_lines};
            if (image + 1 == s->images) ahead.read_lines = ahead.write_lines = 0;
            Finish own_finish = *finish;
            if (own_finish.added != NULL) own_finish.added += image * to;
            for (int i = 0; i < count; i++)
                multiply_image(own, p, products + i, outputs, &own_finish, y + image * to, &ahead);
        }
        _tile_release();
    }
    free(memory);
    return 0;
}

/* y (B, OH, OW, O) of x (B, H, W, C) and w (O, kernel, kernel, C); bias (O) and added (B, OH, OW, O) may be NULL. */
int convolution(const bfloat16 *x, const float *w, const float *bias, const bfloat16 *added, bfloat16 *y,
                const Shape *s, int rectify, int threads) {
    Finish finish = {bias, added, rectify ? 0 : -INFINITY};
    Packing p = forward_packing(s);
    Product product;
    forward_product(&product, &p, s);
    return multiply_images(x, w, &finish, y, s, &p, &product, 1, 0, threads);
}

/* dx (B, H, W, C) of dy (B, OH, OW, O). */
int convolution_inputs(const bfloat16 *dy, const float *w, bfloat16 *dx, const Shape *s, int threads) {
    Packing p = backward_packing(s);
    Product products[4];
    int count = backward_products(products, &p, s);
    Finish finish = {NULL, NULL, -INFINITY};
    return multiply_images(dy, w, &finish, dx, s, &p, products, count, 1, threads);
}

/* ---- Gradients of weights. */

/* What a call is cut into. `tiles` of a block of channels and `out_tiles` of the outputs; of each image `planes` of
   `pairs` pixels side by side, and `steps` tiles of pixels; `list` tiles of taps and channels. */
typedef struct {
    int64_t rows, columns, tiles, out_tiles, planes, pairs, steps, list;
    int64_t blocks, parts, images;      /* of channels; of images, and images of each */
    int64_t group;                      /* images that are packed together */
    int64_t x_values, dy_values, sums;  /* of an image, packed, and of a task */
} Cut;

static Cut cut(const Shape *s) {
    Cut c = {.rows = out_size(s->height, s), .columns = out_size(s->width, s)};
    c.tiles = s->channels % 64 == 0 ? 4 : s->channels % 32 == 0 ? 2 : 1;
    c.out_tiles = s->outputs / TILE;
    c.planes = s->kernel > 1 ? s->stride * s->kernel : 1;
    c.pairs = (c.rows + (s->kernel - 1) / s->stride) * c.columns / 2;
    c.steps = upwards(c.rows * c.columns, DEPTH);
    c.list = s->kernel * s->kernel * c.tiles;
    c.blocks = s->channels / (c.tiles * TILE);
    c.images = upwards(s->images, smaller(s->images, upwards(TASKS, c.blocks)));
    c.parts = upwards(s->images, c.images);
    c.x_values = c.planes * c.tiles * c.pairs * DEPTH;
    c.dy_values = c.out_tiles * c.steps * VALUES;
    c.group = smaller(c.images, 1 + CACHE / (int64_t)sizeof(bfloat16) / (c.x_values + c.dy_values));
    c.sums = c.out_tiles * c.list * TILE * TILE;
    return c;
}

/* Where pair `pair` of a plane and a tile of channels lies in a packed image. */
static inline int64_t place(int64_t plane, int64_t tile, int64_t pair, const Cut *c) {
    return ((plane * c->tiles + tile) * c->pairs + pair) * DEPTH;
}

/* A row of an image, of 16 channels, in the three planes of a stride of 1: each pixel is widened once. */
static inline void pack_row(const bfloat16 *from, bfloat16 *left, bfloat16 *middle, bfloat16 *right, const Cut *c,
                            const Shape *s) {
    __m512i before = _mm512_setzero_si512();
    for (int64_t i = 0; i < c->columns; i += 2) {
        __m512i even = widened(from + i * s->channels), odd = widened(from + (i + 1) * s->channels);
        __m512i pair = _mm512_or_si512(before, _mm512_slli_epi32(even, 16));
        _mm512_storeu_si512(left + i * TILE, pair);
        if (i > 0) _mm512_storeu_si512(right + (i - 2) * TILE, pair);
        _mm512_storeu_si512(middle + i * TILE, _mm512_or_si512(even, _mm512_slli_epi32(odd, 16)));
        before = odd;
    }
    _mm512_storeu_si512(right + (c->columns - 2) * TILE, before);
}

/* A row of a plane, of 16 channels; `column` is that of its first pixel. */
static inline void pack_plane_row(const bfloat16 *from, bfloat16 *to, int64_t column, const Cut *c, const Shape *s) {
    for (int64_t i = 0; i < c->columns; i += 2, to += DEPTH) {
        int64_t first = column + i * s->stride, second = first + s->stride;
        _mm512_storeu_si512(to, side_by_side(first >= 0 ? from + first * s->channels : NULL,
                                             second < s->width ? from + second * s->channels : NULL));
    }
}

/* A block of channels of an image as [plane][tile][pair of pixels][channel][2]. */
static void pack_pairs(const bfloat16 *x, bfloat16 *to, const Cut *c, const Shape *s) {
    int64_t before = s->kernel / 2, half = c->columns / 2, rows = c->pairs / half;
    int whole = s->stride == 1 && c->planes == 3;
    for (int64_t down = 0; down < c->planes; down += s->kernel)
        for (int64_t r = 0; r < rows; r++) {
            int64_t row = r * s->stride + down / s->kernel - before, pair = r * half;
            const bfloat16 *from = x + row * s->width * s->channels;
            for (int64_t tile = 0; tile < c->tiles; tile++, from += TILE) {
                if (row < 0 || row >= s->height) {
                    for (int64_t kw = 0; kw < s->kernel; kw++)
                        memset(to + place(down + kw, tile, pair, c), 0, half * DEPTH * sizeof *to);
                } else if (whole) {
                    pack_row(from, to + place(0, tile, pair, c), to + place(1, tile, pair, c),
                             to + place(2, tile, pair, c), c, s);
                } else {
                    for (int64_t kw = 0; kw < s->kernel; kw++)
                        pack_plane_row(from, to + place(down + kw, tile, pair, c), kw - before, c, s);
                }
            }
        }
}

/* dy of image `image` of a group of `images`, as [tile of outputs][image][step][output][32 pixels]. */
static void pack_transposed(const bfloat16 *dy, bfloat16 *to, int64_t image, int64_t images, const Cut *c,
                            const Shape *s) {
    int64_t pixels = c->rows * c->columns;
    for (int64_t step = 0; step < c->steps; step++)
        for (int64_t tile = 0; tile < c->out_tiles; tile++) {
            __m512i rows[TILE];
            for (int64_t i = 0; i < TILE; i++) {
                int64_t pixel = step * DEPTH + 2 * i;
                const bfloat16 *from = dy + pixel * s->outputs + tile * TILE;
                /* `columns` is even, and so are the pixels. */
                rows[i] = _mm512_setzero_si512();
                if (pixel < pixels) rows[i] = side_by_side(from, from + s->outputs);
            }
            transpose(rows);
            bfloat16 *at = to + ((tile * images + image) * c->steps + step) * VALUES;
            for (int64_t i = 0; i < TILE; i++) _mm512_storeu_si512(at + i * DEPTH, rows[i]);
        }
}

/* Adds to the sums of two tiles of outputs, each with two entries of the list. */
static void add_square(const bfloat16 *a[2], const bfloat16 *b[2], float *sums[2][2], int64_t images, const Cut *c) {
    all_written();
    _tile_loadd(0, sums[0][0], 64);
    _tile_loadd(1, sums[0][1], 64);
    _tile_loadd(2, sums[1][0], 64);
    _tile_loadd(3, sums[1][1], 64);
    for (int64_t image = 0; image < images; image++) {
        const bfloat16 *left = b[0] + image * c->x_values, *right = b[1] + image * c->x_values;
        int64_t first = image * c->steps * VALUES, end = first + c->steps * VALUES;
        for (int64_t i = first; i < end; i += VALUES, left += VALUES, right += VALUES) {
            _tile_loadd(4, a[0] + i, 64);
            _tile_loadd(6, left, 64);
            _tile_loadd(7, right, 64);
            _tile_loadd(5, a[1] + i, 64);
            _tile_dpbf16ps(0, 4, 6);
            _tile_dpbf16ps(1, 4, 7);
            _tile_dpbf16ps(2, 5, 6);
            _tile_dpbf16ps(3, 5, 7);
        }
    }
    /* The last two entries may be one: both sums of it are the same. */
    _tile_stored(0, sums[0][0], 64);
    _tile_stored(1, sums[0][1], 64);
    _tile_stored(2, sums[1][0], 64);
    _tile_stored(3, sums[1][1], 64);
}

/* Adds to the sums of one tile of outputs with four entries of the list. */
static void add_row(const bfloat16 *a, const bfloat16 *b[4], float *sums[4], int64_t images, const Cut *c) {
    all_written();
    _tile_loadd(0, sums[0], 64);
    _tile_loadd(1, sums[1], 64);
    _tile_loadd(2, sums[2], 64);
    _tile_loadd(3, sums[3], 64);
    for (int64_t image = 0; image < images; image++)
        for (int64_t i = 0; i < c->steps; i++) {
            int64_t at = image * c->x_values + i * VALUES;
            _tile_loadd(4, a + (image * c->steps + i) * VALUES, 64);
            _tile_loadd(5, b[0] + at, 64);
            _tile_loadd(6, b[1] + at, 64);
            _tile_loadd(7, b[2] + at, 64);
            _tile_dpbf16ps(0, 4, 5);
            _tile_dpbf16ps(1, 4, 6);
            _tile_dpbf16ps(2, 4, 7);
            _tile_loadd(5, b[3] + at, 64);
            _tile_dpbf16ps(3, 4, 5);
        }
    _tile_stored(0, sums[0], 64);
    _tile_stored(1, sums[1], 64);
    _tile_stored(2, sums[2], 64);
    _tile_stored(3, sums[3], 64);
}

/* Where entry j of the list lies in a packed image, the last one for all beyond it. */
static const bfloat16 *entry(const bfloat16 *packed, int64_t j, const Cut *c, const Shape *s) {
    int64_t tap = j / c->tiles, kh = tap / s->kernel, kw = tap % s->kernel;
    int64_t plane = kh % s->stride * s->kernel + kw;
    return packed + place(plane, j % c->tiles, kh / s->stride * c->columns / 2, c);
}

/* Adds the products of a group of packed images to the sums [tile of outputs][entry][16][16] of a task. */
static void add_group(const bfloat16 *x, const bfloat16 *dy, float *sums, int64_t images, const Cut *c,
                      const Shape *s) {
    for (int64_t o = 0; o < c->out_tiles; o += 2) {
        const bfloat16 *a[2] = {dy + o * images * c->steps * VALUES, dy + (o + 1) * images * c->steps * VALUES};
        int64_t wide = o + 1 < c->out_tiles ? 2 : 4;
        for (int64_t j = 0; j < c->list; j += wide) {
            const bfloat16 *b[4];
            float *to[4];
            for (int64_t i = 0; i < wide; i++) {
                int64_t at = smaller(j + i, c->list - 1);
                b[i] = entry(x, at, c, s);
                to[i] = sums + (o * c->list + at) * TILE * TILE;
            }
            if (wide == 4) {
                add_row(a[0], b, to, images, c);
            } else {
                int64_t next = c->list * TILE * TILE;
                float *both[2][2] = {{to[0], to[1]}, {to[0] + next, to[1] + next}};
                add_square(a, b, both, images, c);
            }
        }
    }
}

/* The sums of a part of the images, for a block of channels. */
static void add_part(const bfloat16 *x, const bfloat16 *dy, float *sums, int64_t part, int64_t block,
                     bfloat16 *memory, const Cut *c, const Shape *s) {
    int64_t stop = smaller((part + 1) * c->images, s->images);
    memset(sums, 0, c->sums * sizeof *sums);
    for (int64_t start = part * c->images; start < stop; start += c->group) {
        int64_t images = smaller(c->group, stop - start);
        bfloat16 *pairs = memory + c->group * c->dy_values;
        for (int64_t i = 0; i < images; i++) {
            const bfloat16 *from = x + (start + i) * s->height * s->width * s->channels + block * c->tiles * TILE;
            pack_pairs(from, pairs + i * c->x_values, c, s);
            pack_transposed(dy + (start + i) * c->rows * c->columns * s->outputs, memory, i, images, c, s);
        }
        /* Read by the last tiles, and multiplied by zero. */
        memset(pairs + images * c->x_values, 0, VALUES * sizeof *pairs);
        add_group(pairs, memory, sums, images, c, s);
    }
}

/* dw (O, kernel, kernel, C) of x (B, H, W, C) and dy (B, OH, OW, O), OW even; -1 where memory is lacking. */
int convolution_weights(const bfloat16 *x, const bfloat16 *dy, float *dw, const Shape *s, int threads) {
    Cut c = cut(s);
    int64_t taps = s->kernel * s->kernel, tasks = c.parts * c.blocks;
    int64_t each = in_lines(c.group * (c.x_values + c.dy_values) + VALUES);
    float *sums = aligned_alloc(64, tasks * c.sums * sizeof *sums);
    bfloat16 *memory = aligned_alloc(64, threads * each * sizeof *memory);
    int failed = sums == NULL || memory == NULL;
    if (!failed) {
        _Pragma("omp parallel num_threads(threads) if (threads > 1)")
        {
            begin_tiles();
            _Pragma("omp for schedule(dynamic)")
            for (int64_t task = 0; task < tasks; task++)
                add_part(x, dy, sums + task * c.sums, task / c.blocks, task % c.blocks,
                         memory + omp_get_thread_num() * each, &c, s);
            _tile_release();
        }
        _Pragma("omp parallel for num_threads(threads) if (threads > 1)")
        for (int64_t o = 0; o < s->outputs; o++)
            for (int64_t j = 0; j < taps * s->channels / TILE; j++) {
                int64_t tap = j * TILE / s->channels, tile = j % (s->channels / TILE);
                int64_t block = tile / c.tiles, at = tap * c.tiles + tile % c.tiles;
                const float *from = sums + block * c.sums + ((o / TILE * c.list + at) * TILE + o % TILE) * TILE;
                __m512 sum = _mm512_loadu_ps(from);
                for (int64_t part = 1; part < c.parts; part++)
                    sum = _mm512_add_ps(sum, _mm512_loadu_ps(from + part * c.blocks * c.sums));
                _mm512_storeu_ps(dw + (o * taps + tap) * s->channels + tile * TILE, sum);
            }
    }
    free(sums);
    free(memory);
    return failed ? -1 : 0;
}

#endif
