/* What a training step does between its convolutions, each in one pass over memory.

   Tensors are dense blocks of float or bfloat16; arithmetic is in float, and sums of many values in double.
   Work is cut into parts whose borders depend on sizes alone, and the sums of the parts are added in order,
   so that results do not depend on the number of threads.

   Compiled with -ffp-contract=off: products are rounded before they are added, as torch rounds them. */

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define PARTS 64   /* of the work, at most; also in kernels.py */
#define BLOCK 4096 /* values whose sum is kept in float */
#define SMALL 32768 /* values that are not worth a second thread */

typedef uint16_t bfloat16;

static inline float from_float(float value) { return value; }
static inline float to_float(float value) { return value; }

static inline float from_bfloat16(bfloat16 value) {
    uint32_t bits = (uint32_t)value << 16;
    float result;
    memcpy(&result, &bits, sizeof result);
    return result;
}

/* To nearest, halves to even; NaN stays NaN, which the rounding could carry into another number. */
static inline bfloat16 to_bfloat16(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    return value != value ? 0x7fc0 : (bfloat16)rounded;
}

static inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

/* Values of a part: a whole multiple of `unit`, and never zero, by which loops would divide. */
static inline int64_t part_size(int64_t count, int64_t unit) {
    int64_t units = count > 0 ? (count + unit - 1) / unit : 1;
    return (units + PARTS - 1) / PARTS * unit;
}

/* A quantiser: its step, the reciprocal of that, its lowest and its highest level. Also in kernels.py. */
typedef struct {
    float step, reciprocal, low, high;
} Rounding;

/* The level of x, see learned_step.to_levels_. Comparisons leave NaN as it is. */
static inline float level(float x, float reciprocal, float low, float high) {
    float rounded = rintf(x * reciprocal);
    rounded = rounded < low ? low : rounded;
    return rounded > high ? high : rounded;
}

/* quantise: y = step * level of x.

   quantise_backward: dx = inside dy, which may be dy's own memory, and returns

       sum dy (y - inside x),    inside: low step < x < high step.

   y is computed again: that is cheaper than to read it. dx may be NULL.

   channel_sums: for x and z of pixels x channels, at least one, with the constants x0 and z0 of each channel, the
   sums of x - x0 and of (x - x0) (z - z0) over all pixels. `scratch` holds PARTS x 2 x channels doubles; its first
   2 x channels are the result.

   channel_map: y = a x + b z + c by channel; z may be NULL, which leaves b z out.

   Both take x as 0 where f z + g <= 0, if f and g are not NULL: that is where a rectified norm of z is zero. If
   `rounding` is not NULL either, what is left is y = f z + g, rounded to its type, that was quantised, and x is 0
   outside the levels, too; channel_sums then returns the sum of quantise_backward, with x as dy. Without f,
   channel_map quantises what it maps.

   Several pixels are handled as one of so many more channels, as a loop over 16 channels is a short one.

   norm: batch norm y = w (x - m) / d + b, with z added unless that is NULL, and then what is positive if `rectify`,
   where m and d = sqrt(variance + epsilon) are those of x in training, which the running statistics then follow,
   and else the running ones. weight, bias and in training the running statistics may be NULL. `saved` receives m
   and d. A `rounding` that is not NULL quantises the result, if it is rectified and nothing is added: what lies
   between is never written, and is computed again backwards, to the same numbers.

   norm_backward: with P pixels, S = sum dy and T = sum dy (x - m) for each channel (Ioffe & Szegedy 2015,
   section 3)

       db = S,    dw = T / d,    dx = w / d (dy - S / P - (x - m) T / (d^2 P))

   so that dx is a factor of dy, a factor of x and a constant by channel. dx may be NULL. Of a rectified norm dy
   counts where y is positive, which is computed again: that is cheaper than to read y. Where it was quantised, dy
   is the gradient of the levels, and the sum of quantise_backward is returned. */
#define KERNELS(T)                                                                                                  \
    void quantise_##T(const T *x, T *y, int64_t count, float step, float reciprocal, float low, float high,         \
                      int threads) {                                                                                \
        int64_t size = part_size(count, BLOCK);                                                                     \
        _Pragma("omp parallel for num_threads(threads) if (count > SMALL)")                                         \
        for (int64_t start = 0; start < count; start += size) {                                                     \
            int64_t stop = smaller(start + size, count);                                                            \
            for (int64_t i = start; i < stop; i++)                                                                  \
                y[i] = to_##T(level(from_##T(x[i]), reciprocal, low, high) * step);                                 \
        }                                                                                                           \
    }                                                                                                               \
                                                                                                                    \
    double quantise_backward_##T(const T *x, const T *dy, T *dx, int64_t count, float step, float reciprocal,       \
                                 float low, float high, int threads) {                                              \
        double sums[PARTS] = {0};                                                                                   \
        float bottom = low * step, top = high * step;                                                               \
        int64_t size = part_size(count, BLOCK);                                                                     \
        _Pragma("omp parallel for num_threads(threads) if (count > SMALL)")                                         \
        for (int64_t start = 0; start < count; start += size) {                                                     \
            int64_t end = smaller(start + size, count);                                                             \
            for (int64_t from = start; from < end; from += BLOCK) {                                                 \
                int64_t stop = smaller(from + BLOCK, end);                                                          \
                float sum = 0;                                                                                      \
                _Pragma("omp simd reduction(+ : sum)")                                                              \
                for (int64_t i = from; i < stop; i++) {                                                             \
                    float value = from_##T(x[i]), gradient = from_##T(dy[i]);                                       \
                    float y = level(value, reciprocal, low, high) * step;                                           \
                    float kept = value > bottom && value < top ? value : 0;                                         \
                    sum += gradient * (y - kept);                                                                   \
                }                                                                                                   \
                sums[start / size] += sum;                                                                          \
                if (dx != NULL)                                                                                     \
                    for (int64_t i = from; i < stop; i++) {                                                         \
                        float value = from_##T(x[i]);                                                               \
                        dx[i] = value > bottom && value < top ? dy[i] : 0;                                          \
                    }                                                                                               \
            }                                                                                                       \
        }                                                                                                           \
        double total = 0;                                                                                           \
        for (int part = 0; part < PARTS; part++) total += sums[part];                                               \
        return total;                                                                                               \
    }                                                                                                               \
                                                                                                                    \
    /* A rectified norm as it is written, and read by a quantiser. */                                               \
    static inline float rectified_##T(float value) { return from_##T(to_##T(value < 0 ? 0 : value)); }              \
                                                                                                                    \
    static double channel_sums_##T(const T *x, const T *z, const float *x0, const float *z0, const float *f,        \
                                   const float *g, const Rounding *rounding, int64_t pixels, int64_t channels,      \
                                   double *scratch, int threads) {                                                  \
        double errors[PARTS] = {0};                                                                                 \
        const Rounding r = rounding != NULL ? *rounding : (Rounding){0};                                            \
        float bottom = r.low * r.step, top = r.high * r.step;                                                       \
        int64_t joined = 1 + 127 / channels, width = joined * channels;                                             \
        int64_t block = 1 + BLOCK / width; /* joined pixels whose sums are kept in float */                         \
        int64_t size = part_size(pixels, joined * block);                                                           \
        _Pragma("omp parallel for num_threads(threads) if (pixels * channels > SMALL)")                             \
        for (int64_t start = 0; start < pixels; start += size) {                                                    \
            double *total = scratch + start / size * 2 * channels;                                                  \
            memset(total, 0, 2 * channels * sizeof *total);                                                         \
            int64_t end = smaller(start + size, pixels);                                                            \
            float sum[width], product[width], error[width], x1[width], z1[width], f1[width], g1[width];             \
            for (int64_t i = 0; i < width; i++) {                                                                   \
                x1[i] = x0[i % channels], z1[i] = z0[i % channels];                                                 \
                f1[i] = f != NULL ? f[i % channels] : 0, g1[i] = f != NULL ? g[i % channels] : 0;                   \
            }                                                                                                       \
            for (int64_t from = start; from < end; from += joined * block) {                                        \
                int64_t stop = smaller(from + joined * block, end);                                                 \
                memset(sum, 0, sizeof sum);                                                                         \
                memset(product, 0, sizeof product);                                                                 \
                memset(error, 0, sizeof error);                                                                     \
                for (int64_t pixel = from; pixel < stop; pixel += joined) {                                         \
                    const T *a = x + pixel * channels, *b = z + pixel * channels;                                   \
                    int64_t values = smaller(joined, stop - pixel) * channels;                                      \
                    if (f == NULL) {                                                                                \
                        for (int64_t i = 0; i < values; i++) {                                                      \
                            float u = from_##T(a[i]) - x1[i], v = from_##T(b[i]) - z1[i];                           \
                            sum[i] += u;                                                                            \
                            product[i] += u * v;                                                                    \
                        }                                                                                           \
                    } else if (rounding != NULL) {                                                                  \
                        for (int64_t i = 0; i < values; i++) {                                                      \
                            float value = from_##T(b[i]), u = from_##T(a[i]), norm = value * f1[i] + g1[i];         \
                            float y = rectified_##T(norm), kept = y > bottom && y < top ? y : 0;                    \
                            error[i] += u * (level(y, r.reciprocal, r.low, r.high) * r.step - kept);                \
                            u = (kept > 0 ? u : 0) - x1[i];                                                         \
                            sum[i] += u;                                                                            \
                            product[i] += u * (value - z1[i]);                                                      \
                        }                                                                                           \
                    } else {                                                                                        \
                        for (int64_t i = 0; i < values; i++) {                                                      \
                            float value = from_##T(b[i]), u = from_##T(a[i]);                                       \
                            u = (value * f1[i] + g1[i] <= 0 ? 0 : u) - x1[i];                                       \
                            sum[i] += u;                                                                            \
                            product[i] += u * (value - z1[i]);                                                      \
                        }                                                                                           \
                    }                                                                                               \
                }                                                                                                   \
                for (int64_t i = 0; i < width; i++) {                                                               \
                    total[i % channels] += sum[i];                                                                  \
                    total[channels + i % channels] += product[i];                                                   \
                    errors[start / size] += error[i];                                                               \
                }                                                                                                   \
            }                                                                                                       \
        }                                                                                                           \
        for (int64_t part = 1; part * size < pixels; part++)                                                        \
            for (int64_t i = 0; i < 2 * channels; i++) scratch[i] += scratch[part * 2 * channels + i];              \
        double total = 0;                                                                                           \
        for (int part = 0; part < PARTS; part++) total += errors[part];                                             \
        return total;                                                                                               \
    }                                                                                                               \
                                                                                                                    \
    static void channel_map_##T(const T *x, const T *z, T *y, const float *a, const float *b, const float *c,       \
                                const float *f, const float *g, const Rounding *rounding, float lowest,             \
                                int64_t pixels, int64_t channels, int threads) {                                    \
        const Rounding r = rounding != NULL ? *rounding : (Rounding){0};                                            \
        float bottom = r.low * r.step, top = r.high * r.step;                                                       \
        int64_t joined = 1 + 127 / channels, width = joined * channels;                                             \
        int64_t size = part_size(pixels, joined);                                                                   \
        _Pragma("omp parallel for num_threads(threads) if (pixels * channels > SMALL)")                             \
        for (int64_t start = 0; start < pixels; start += size) {                                                    \
            int64_t stop = smaller(start + size, pixels);                                                           \
            float a1[width], b1[width], c1[width], f1[width], g1[width];                                            \
            for (int64_t i = 0; i < width; i++) {                                                                   \
                a1[i] = a[i % channels], b1[i] = b[i % channels], c1[i] = c[i % channels];                          \
                f1[i] = f != NULL ? f[i % channels] : 0, g1[i] = f != NULL ? g[i % channels] : 0;                   \
            }                                                                                                       \
            for (int64_t pixel = start; pixel < stop; pixel += joined) {                                            \
                int64_t first = pixel * channels, values = smaller(joined, stop - pixel) * channels;                \
                const T *u = x + first;                                                                             \
                T *to = y + first;                                                                                  \
                if (rounding != NULL && f == NULL) {                                                                \
                    for (int64_t i = 0; i < values; i++) {                                                          \
                        float value = rectified_##T(from_##T(u[i]) * a1[i] + c1[i]);                                \
                        to[i] = to_##T(level(value, r.reciprocal, r.low, r.high) * r.step);                         \
                    }                                                                                               \
                } else if (z == NULL) {                                                                             \
                    for (int64_t i = 0; i < values; i++) {                                                          \
                        float value = from_##T(u[i]) * a1[i] + c1[i];                                               \
                        to[i] = to_##T(value < lowest ? lowest : value);                                            \
                    }                                                                                               \
                } else if (f == NULL) {                                                                             \
                    const T *v = z + first;                                                                         \
                    for (int64_t i = 0; i < values; i++) {                                                          \
                        float value = from_##T(u[i]) * a1[i] + from_##T(v[i]) * b1[i] + c1[i];                      \
                        to[i] = to_##T(value < lowest ? lowest : value);                                            \
                    }                                                                                               \
                } else if (rounding != NULL) {                                                                      \
                    const T *v = z + first;                                                                         \
                    for (int64_t i = 0; i < values; i++) {                                                          \
                        float value = from_##T(v[i]), w = from_##T(u[i]), norm = value * f1[i] + g1[i];             \
                        float written = rectified_##T(norm);                                                        \
                        float kept = written > bottom && written < top ? written : 0;                               \
                        to[i] = to_##T((kept > 0 ? w : 0) * a1[i] + value * b1[i] + c1[i]);                         \
                    }                                                                                               \
                } else {                                                                                            \
                    const T *v = z + first;                                                                         \
                    for (int64_t i = 0; i < values; i++) {                                                          \
                        float value = from_##T(v[i]), w = from_##T(u[i]);                                           \
                        w = value * f1[i] + g1[i] <= 0 ? 0 : w;                                                     \
                        to[i] = to_##T(w * a1[i] + value * b1[i] + c1[i]);                                          \
                    }                                                                                               \
                }                                                                                                   \
            }                                                                                                       \
        }                                                                                                           \
    }                                                                                                               \
                                                                                                                    \
    void norm_##T(const T *x, const T *z, T *y, const float *weight, const float *bias, float *running_mean,        \
                  float *running_variance, double *saved, double *scratch, int64_t pixels, int64_t channels,        \
                  double momentum, double epsilon, int training, int rectify, const Rounding *rounding,             \
                  int threads) {                                                                                    \
        float start[channels], factor[channels], constant[channels], one[channels];                                 \
        if (training) {                                                                                             \
            /* Deviations from the first pixel: squares of values far from zero would lose the variance. */         \
            for (int64_t i = 0; i < channels; i++) start[i] = from_##T(x[i]);                                       \
            channel_sums_##T(x, x, start, start, NULL, NULL, NULL, pixels, channels, scratch, threads);             \
        }                                                                                                           \
        for (int64_t i = 0; i < channels; i++) {                                                                    \
            double mean, variance;                                                                                  \
            if (training) {                                                                                         \
                double first = scratch[i] / pixels;                                                                 \
                mean = start[i] + first;                                                                            \
                variance = scratch[channels + i] / pixels - first * first;                                          \
                variance = variance < 0 ? 0 : variance;                                                             \
                if (running_mean != NULL) {                                                                         \
                    double unbiased = variance * pixels / (pixels - 1);                                             \
                    running_mean[i] = (1 - momentum) * running_mean[i] + momentum * mean;                           \
                    running_variance[i] = (1 - momentum) * running_variance[i] + momentum * unbiased;               \
                }                                                                                                   \
            } else {                                                                                                \
                mean = running_mean[i];                                                                             \
                variance = running_variance[i];                                                                     \
            }                                                                                                       \
            double deviation = sqrt(variance + epsilon);                                                            \
            double scale = (weight != NULL ? weight[i] : 1) / deviation;                                            \
            saved[i] = mean;                                                                                        \
            saved[channels + i] = deviation;                                                                        \
            one[i] = 1;                                                                                             \
            factor[i] = scale;                                                                                      \
            constant[i] = (bias != NULL ? bias[i] : 0) - mean * scale;                                              \
        }                                                                                                           \
        channel_map_##T(x, z, y, factor, one, constant, NULL, NULL, rounding, rectify ? 0 : -INFINITY, pixels,      \
                        channels, threads);                                                                         \
    }                                                                                                               \
                                                                                                                    \
    double norm_backward_##T(const T *x, const T *dy, T *dx, const float *weight, const float *bias,                \
                             const double *saved, float *dw, float *db, double *scratch, int64_t pixels,            \
                             int64_t channels, int rectified, const Rounding *rounding, int threads) {              \
        float nothing[channels], center[channels], of_dy[channels], of_x[channels], constant[channels];             \
        float factors[channels], constants[channels];                                                               \
        for (int64_t i = 0; i < channels; i++) {                                                                    \
            nothing[i] = 0, center[i] = saved[i];                                                                   \
            /* As they were forwards. */                                                                            \
            double scale = (weight != NULL ? weight[i] : 1) / saved[channels + i];                                  \
            factors[i] = scale;                                                                                     \
            constants[i] = (bias != NULL ? bias[i] : 0) - saved[i] * scale;                                         \
        }                                                                                                           \
        const float *f = rectified ? factors : NULL, *g = rectified ? constants : NULL;                             \
        double error = channel_sums_##T(dy, x, nothing, center, f, g, rounding, pixels, channels, scratch, threads);\
        for (int64_t i = 0; i < channels; i++) {                                                                    \
            double mean = saved[i], deviation = saved[channels + i], sum = scratch[i];                              \
            /* The sums were taken about the rounded mean. */                                                       \
            double product = scratch[channels + i] - sum * (mean - center[i]);                                      \
            double scale = (weight != NULL ? weight[i] : 1) / deviation;                                            \
            double slope = -scale * product / (deviation * deviation * pixels);                                     \
            db[i] = sum;                                                                                            \
            dw[i] = product / deviation;                                                                            \
            of_dy[i] = scale;                                                                                       \
            of_x[i] = slope;                                                                                        \
            constant[i] = -scale * sum / pixels - slope * mean;                                                     \
        }                                                                                                           \
        if (dx != NULL)                                                                                             \
            channel_map_##T(dy, x, dx, of_dy, of_x, constant, f, g, rounding, -INFINITY, pixels, channels, threads);\
        return error;                                                                                               \
    }

KERNELS(float)
KERNELS(bfloat16)
