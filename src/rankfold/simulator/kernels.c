/* The activations of a strip of tiles: sums at the columns, what converters make of them, shifts and additions.

   A strip has `outputs` columns of weights, each of which is spread over `cells` columns of cells; column c has its
   cell j in the column j outputs + c. Behind them lie the `references`. Most cells hold zero, so only the others
   are listed: those of column k are cell[start[k]] to cell[start[k + 1] - 1], each with the `row` that drives it.
   Activation a drives row r with the line place[a rows + r] of the inputs: `slices` times `images` values, slice by
   slice.

   Sums are added up in the order of the rows, and what is made of them in the order of cells and slices, for each
   image by itself: results depend neither on threads nor on how many images run together. Hence it is compiled with
   -ffp-contract=off: vectors and single images alike round a product before it is added to a sum, and are fused where
   the source says fmaf, as torch's additions of multiples are, whatever the compiler and the processor are. */

#include <math.h>
#include <omp.h>
#include <stddef.h>
#include <stdint.h>

#define LANES 64 /* images at once: four vectors; also in kernels.py */
#define FEW 16   /* one vector */

typedef struct {
    const int64_t *start, *reference; /* reference: (outputs,) the reference of each column, or NULL */
    const int32_t *row;
    const float *cell;
    int64_t rows, outputs, cells, references;
} Strip;

/* Images from + skip to from + count are next; those before are done, and looked at again to fill a vector. */
typedef struct {
    int64_t from, count, skip;
} Some;

static inline Some next(int64_t done, int64_t images) {
    int64_t left = images - done;
    int64_t count = left >= LANES ? LANES : images >= FEW ? FEW : left;
    int64_t from = left < count ? images - count : done;
    return (Some){from, count, done - from};
}

/* Sums that stay in registers, whatever these are wide. */
typedef float Vector __attribute__((vector_size(64), aligned(4)));

/* The sums of column k for `count` images, up to LANES, of lines that begin at `lines`. */
static inline void sum_column(const Strip *strip, int64_t k, const float *lines, const int64_t *place, int64_t width,
                              int64_t count, float *sum) {
    int64_t first = strip->start[k], last = strip->start[k + 1];
    if (count == LANES) {
        Vector a = {0}, b = {0}, c = {0}, d = {0};
        for (int64_t n = first; n < last; n++) {
            const float *line = lines + place[strip->row[n]] * width;
            const Vector *value = (const Vector *)line;
            float cell = strip->cell[n];
            a += cell * value[0];
            b += cell * value[1];
            c += cell * value[2];
            d += cell * value[3];
        }
        Vector *to = (Vector *)sum;
        to[0] = a, to[1] = b, to[2] = c, to[3] = d;
        return;
    }
    if (count == FEW) {
        Vector a = {0};
        for (int64_t n = first; n < last; n++)
            a += strip->cell[n] * *(const Vector *)(lines + place[strip->row[n]] * width);
        *(Vector *)sum = a;
        return;
    }
    for (int64_t i = 0; i < count; i++) sum[i] = 0;
    for (int64_t n = first; n < last; n++) {
        const float *line = lines + place[strip->row[n]] * width;
        for (int64_t i = 0; i < count; i++) sum[i] += strip->cell[n] * line[i];
    }
}

/* Codes of scaled sums, and how many of those that come after `skip` lie outside. */
static inline int64_t convert(float *sum, int64_t skip, int64_t count, float low, float high) {
    int32_t outside = 0;
    for (int64_t i = 0; i < count; i++) {
        float code = rintf(sum[i]);
        float clipped = code < low ? low : code;
        clipped = clipped > high ? high : clipped;
        outside += i >= skip && clipped != code;
        sum[i] = clipped;
    }
    return outside;
}

/* Adds to the totals of each column what is read of the strip: target[c] is where those of the first activation
   are, `images` of them, and step[c] how far those of the next one are from there. fresh[c]: they are set instead.
   A code counts factor[j slices + s], of cell j and slice s; one of a reference as if it were one more cell. References
   are converted or, where `counts`, counted exactly. `scratch` has room for references times slices times LANES
   floats for each thread. Returns how many conversions clipped. */
int64_t read_strip(const Strip *strip, const float *lines, const int64_t *place, int64_t activations, int64_t slices,
                   int64_t images, const float *factor, int counts, float low, float high, float *const *target,
                   const int64_t *step, const uint8_t *fresh, float *scratch, int threads) {
    int64_t width = slices * images, outside = 0;
    _Pragma("omp parallel num_threads(threads) reduction(+ : outside)")
    {
        float *codes = scratch + omp_get_thread_num() * strip->references * slices * LANES;
        _Pragma("omp for")
        for (int64_t a = 0; a < activations; a++) {
            const int64_t *driven = place + a * strip->rows;
            for (int64_t done = 0; done < images;) {
                Some some = next(done, images);
                int64_t from = some.from, count = some.count, skip = some.skip;
                done = from + count;
                for (int64_t k = 0; k < strip->references; k++)
                    for (int64_t s = 0; s < slices; s++) {
                        float *code = codes + (k * slices + s) * LANES;
                        int64_t column = strip->cells * strip->outputs + k;
                        sum_column(strip, column, lines + s * images + from, driven, width, count, code);
                        if (!counts) outside += convert(code, skip, count, low, high);
                    }
                for (int64_t c = 0; c < strip->outputs; c++) {
                    float *to = target[c] + a * step[c] + from, total[LANES], sum[LANES];
                    for (int64_t i = 0; i < count; i++) total[i] = fresh[c] ? 0 : to[i];
                    for (int64_t j = 0; j < strip->cells; j++)
                        for (int64_t s = 0; s < slices; s++) {
                            int64_t column = j * strip->outputs + c;
                            sum_column(strip, column, lines + s * images + from, driven, width, count, sum);
                            outside += convert(sum, skip, count, low, high);
                            float counted = factor[j * slices + s];
                            for (int64_t i = 0; i < count; i++) total[i] = fmaf(counted, sum[i], total[i]);
                        }
                    for (int64_t s = 0; s < slices && strip->references; s++) {
                        const float *code = codes + (strip->reference[c] * slices + s) * LANES;
                        float counted = factor[strip->cells * slices + s];
                        for (int64_t i = 0; i < count; i++) total[i] = fmaf(counted, code[i], total[i]);
                    }
                    for (int64_t i = skip; i < count; i++) to[i] = total[i];
                }
            }
        }
    }
    return outside;
}
