// Loops here are written so that compilers vectorise them: sums keep a fixed number of partial sums, which
// also makes them the same with any number of threads.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("O3", "no-math-errno", "no-trapping-math")
#endif

#include "daemon/model/kernels_cpu.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <vector>

// Not under AddressSanitizer, which is not there yet when the loader picks.
#if defined(__x86_64__) && defined(__linux__) && !defined(__SANITIZE_ADDRESS__)
#define SIDESTEP_CLONES __attribute__((target_clones("default", "arch=x86-64-v3", "arch=x86-64-v4")))
#else
#define SIDESTEP_CLONES
#endif
#define SIDESTEP_INLINE inline __attribute__((always_inline))

namespace sidestep::daemon::kernels_cpu {
namespace {

constexpr std::int64_t lanes = 16;
constexpr std::int64_t rows_per_part = 64;  // of a sum over rows, whatever the number of threads

SIDESTEP_INLINE float load(float value) { return value; }
SIDESTEP_INLINE float load(std::uint16_t value) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(value) << 16);
}
SIDESTEP_INLINE void store(float& to, float value) { to = value; }
// Rounds to nearest, ties to even; keeps NaN.
SIDESTEP_INLINE void store(std::uint16_t& to, float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  to = static_cast<std::uint16_t>(value != value ? 0x7fc0u : rounded);
}

// e^x to 2e-7 relative (range reduction by ln 2, then Cephes' polynomial), 0 below -87, NaN stays NaN.
SIDESTEP_INLINE float exponential(float x) {
  const float bounded = x > 88.0f ? 88.0f : x;
  constexpr float magic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  const float shifted = bounded * 1.44269504088896341f + magic;
  const float n = shifted - magic;
  const float r = (bounded - n * 0.693359375f) - n * -2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  const std::uint32_t exponent = (std::bit_cast<std::uint32_t>(shifted) - 0x4b400000u + 127u) << 23;
  const float result = p * std::bit_cast<float>(exponent);
  return x < -87.0f ? 0.0f : result;
}

template <class Term>
SIDESTEP_INLINE float sum_lanes(std::int64_t count, const Term& term) {
  float partial[lanes] = {};
  const std::int64_t whole = count - count % lanes;
  for (std::int64_t i = 0; i < whole; i += lanes)
    for (std::int64_t lane = 0; lane < lanes; ++lane) partial[lane] += term(i + lane);
  for (std::int64_t i = whole; i < count; ++i) partial[i - whole] += term(i);
  float sum = 0;
  for (const float value : partial) sum += value;
  return sum;
}

template <class Element>
SIDESTEP_INLINE void rms_norm_row(std::int64_t width, const Element* __restrict x,
                                  const float* __restrict weight, float eps, Element* __restrict output,
                                  float* __restrict inverse_rms) {
  const float squares = sum_lanes(
      width, [=](std::int64_t i) __attribute__((always_inline)) { return load(x[i]) * load(x[i]); });
  const float inverse = 1.0f / std::sqrt(squares / static_cast<float>(width) + eps);
  for (std::int64_t i = 0; i < width; ++i) store(output[i], weight[i] * (load(x[i]) * inverse));
  *inverse_rms = inverse;
}

template <class Element>
SIDESTEP_INLINE void rms_norm_backward_row(std::int64_t width, const Element* __restrict gradient,
                                           const Element* __restrict x, float inverse,
                                           const float* __restrict weight, const Element* __restrict residual,
                                           Element* __restrict x_gradient,
                                           float* __restrict weight_gradient) {
  const float dot = sum_lanes(
      width, [=](std::int64_t i)
                 __attribute__((always_inline)) { return load(gradient[i]) * weight[i] * load(x[i]); });
  const float correction = dot * inverse * inverse / static_cast<float>(width);
  if (residual != nullptr) {
    for (std::int64_t i = 0; i < width; ++i)
      store(x_gradient[i],
            load(residual[i]) + inverse * (load(gradient[i]) * weight[i] - load(x[i]) * correction));
  } else {
    for (std::int64_t i = 0; i < width; ++i)
      store(x_gradient[i], inverse * (load(gradient[i]) * weight[i] - load(x[i]) * correction));
  }
  if (weight_gradient != nullptr)
    for (std::int64_t i = 0; i < width; ++i) weight_gradient[i] += load(gradient[i]) * (load(x[i]) * inverse);
}

template <class Element>
SIDESTEP_INLINE void rotate_head(std::int64_t half, Element* __restrict head, const float* __restrict cosine,
                                 const float* __restrict sine, float sign) {
  for (std::int64_t i = 0; i < half; ++i) {
    const float first = load(head[i]);
    const float second = load(head[half + i]);
    const float turn = sign * sine[i];
    store(head[i], first * cosine[i] - second * turn);
    store(head[half + i], second * cosine[i] + first * turn);
  }
}

template <class Element>
SIDESTEP_INLINE void swiglu_row(std::int64_t width, const Element* __restrict gate,
                                const Element* __restrict up, Element* __restrict activation) {
  for (std::int64_t i = 0; i < width; ++i) {
    const float g = load(gate[i]);
    store(activation[i], g / (1.0f + exponential(-g)) * load(up[i]));
  }
}

template <class Element>
SIDESTEP_INLINE void swiglu_backward_row(std::int64_t width, const Element* __restrict gradient,
                                         const Element* __restrict gate, const Element* __restrict up,
                                         Element* __restrict activation, Element* __restrict gate_gradient,
                                         Element* __restrict up_gradient) {
  for (std::int64_t i = 0; i < width; ++i) {
    const float g = load(gate[i]);
    const float u = load(up[i]);
    const float d = load(gradient[i]);
    const float sigmoid = 1.0f / (1.0f + exponential(-g));
    const float silu = g * sigmoid;
    store(activation[i], silu * u);
    store(up_gradient[i], d * silu);
    store(gate_gradient[i], d * u * sigmoid * (1.0f + g * (1.0f - sigmoid)));
  }
}

// One overload per element type and kernel, because clones cannot be templates.
#define SIDESTEP_ROW_KERNELS(Element)                                                                      \
  SIDESTEP_CLONES void rms_norm_rows(std::int64_t begin, std::int64_t end, std::int64_t width,             \
                                     const Element* x, const float* weight, float eps, Element* output,    \
                                     float* inverse_rms) {                                                 \
    for (std::int64_t row = begin; row < end; ++row)                                                       \
      rms_norm_row(width, x + row * width, weight, eps, output + row * width, inverse_rms + row);          \
  }                                                                                                        \
  SIDESTEP_CLONES void rms_norm_backward_rows(                                                             \
      std::int64_t begin, std::int64_t end, std::int64_t width, const Element* gradient, const Element* x, \
      const float* inverse_rms, const float* weight, const Element* residual, Element* x_gradient,         \
      float* weight_gradient) {                                                                            \
    for (std::int64_t row = begin; row < end; ++row)                                                       \
      rms_norm_backward_row(width, gradient + row * width, x + row * width, inverse_rms[row], weight,      \
                            residual == nullptr ? nullptr : residual + row * width,                        \
                            x_gradient + row * width, weight_gradient);                                    \
  }                                                                                                        \
  SIDESTEP_CLONES void rotate_heads(std::int64_t count, std::int64_t half, Element* heads,                 \
                                    const float* cosine, const float* sine, float sign) {                  \
    for (std::int64_t head = 0; head < count; ++head)                                                      \
      rotate_head(half, heads + head * 2 * half, cosine, sine, sign);                                      \
  }                                                                                                        \
  SIDESTEP_CLONES void swiglu_rows(std::int64_t begin, std::int64_t end, std::int64_t width,               \
                                   const Element* gate_up, Element* activation) {                          \
    for (std::int64_t row = begin; row < end; ++row)                                                       \
      swiglu_row(width, gate_up + 2 * row * width, gate_up + (2 * row + 1) * width,                        \
                 activation + row * width);                                                                \
  }                                                                                                        \
  SIDESTEP_CLONES void swiglu_backward_rows(std::int64_t begin, std::int64_t end, std::int64_t width,      \
                                            const Element* gradient, const Element* gate_up,               \
                                            Element* activation, Element* gate_up_gradient) {              \
    for (std::int64_t row = begin; row < end; ++row)                                                       \
      swiglu_backward_row(width, gradient + row * width, gate_up + 2 * row * width,                        \
                          gate_up + (2 * row + 1) * width, activation + row * width,                       \
                          gate_up_gradient + 2 * row * width, gate_up_gradient + (2 * row + 1) * width);   \
  }

SIDESTEP_ROW_KERNELS(float)
SIDESTEP_ROW_KERNELS(std::uint16_t)
#undef SIDESTEP_ROW_KERNELS

SIDESTEP_CLONES double cross_entropy_row(std::int64_t vocabulary, float* logits, std::int64_t target,
                                         float gradient_scale) {
  float largest[lanes];
  std::fill(largest, largest + lanes, logits[0]);
  const std::int64_t whole = vocabulary - vocabulary % lanes;
  for (std::int64_t i = 0; i < whole; i += lanes)
    for (std::int64_t lane = 0; lane < lanes; ++lane)
      largest[lane] = largest[lane] < logits[i + lane] ? logits[i + lane] : largest[lane];
  for (std::int64_t i = whole; i < vocabulary; ++i)
    largest[0] = largest[0] < logits[i] ? logits[i] : largest[0];
  const float maximum = *std::max_element(largest, largest + lanes);

  const float sum = sum_lanes(
      vocabulary, [=](std::int64_t i)
                      __attribute__((always_inline)) { return exponential(logits[i] - maximum); });
  const double loss = std::log(static_cast<double>(sum)) + maximum - logits[target];
  if (gradient_scale != 0) {
    const float factor = gradient_scale / sum;
    for (std::int64_t i = 0; i < vocabulary; ++i) logits[i] = exponential(logits[i] - maximum) * factor;
    logits[target] -= gradient_scale;
  }
  return loss;
}

SIDESTEP_CLONES double squares_of(std::int64_t count, const float* values) {
  double partial[lanes] = {};
  const std::int64_t whole = count - count % lanes;
  for (std::int64_t i = 0; i < whole; i += lanes)
    for (std::int64_t lane = 0; lane < lanes; ++lane) {
      const double value = values[i + lane];
      partial[lane] += value * value;
    }
  for (std::int64_t i = whole; i < count; ++i) {
    const double value = values[i];
    partial[i - whole] += value * value;
  }
  double sum = 0;
  for (const double value : partial) sum += value;
  return sum;
}

std::int64_t grain(std::int64_t width) {
  return std::max<std::int64_t>(1, 16384 / std::max<std::int64_t>(1, width));
}

}  // namespace

template <class Element>
void rms_norm(std::int64_t rows, std::int64_t width, const Element* x, const float* weight, float eps,
              Element* output, float* inverse_rms) {
  at::parallel_for(0, rows, grain(width), [&](std::int64_t begin, std::int64_t end) {
    rms_norm_rows(begin, end, width, x, weight, eps, output, inverse_rms);
  });
}

template <class Element>
void rms_norm_backward(std::int64_t rows, std::int64_t width, const Element* gradient, const Element* x,
                       const float* inverse_rms, const float* weight, const Element* residual,
                       Element* x_gradient, float* weight_gradient) {
  const std::int64_t parts = (rows + rows_per_part - 1) / rows_per_part;
  std::vector<float> sums(weight_gradient == nullptr ? 0 : static_cast<std::size_t>(parts * width));
  at::parallel_for(0, parts, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t part = begin; part < end; ++part) {
      const std::int64_t first = part * rows_per_part;
      const std::int64_t last = std::min(rows, first + rows_per_part);
      float* sum = weight_gradient == nullptr ? nullptr : sums.data() + part * width;
      rms_norm_backward_rows(first, last, width, gradient, x, inverse_rms, weight, residual, x_gradient, sum);
    }
  });
  if (weight_gradient == nullptr) return;
  for (std::int64_t part = 0; part < parts; ++part)
    for (std::int64_t i = 0; i < width; ++i)
      weight_gradient[i] += sums[static_cast<std::size_t>(part * width + i)];
}

template <class Element>
void rotate(const Heads& shape, Element* heads, const float* cosine, const float* sine, bool inverse) {
  const std::int64_t half = shape.head_dim / 2;
  const float sign = inverse ? -1.0f : 1.0f;
  at::parallel_for(
      0, shape.batch * shape.positions, grain(shape.count * shape.head_dim),
      [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t row = begin; row < end; ++row) {
          const std::int64_t position = row % shape.positions;
          Element* at =
              heads + (row / shape.positions) * shape.batch_stride + position * shape.position_stride;
          rotate_heads(shape.count, half, at, cosine + position * half, sine + position * half, sign);
        }
      });
}

template <class Element>
void swiglu(std::int64_t rows, std::int64_t width, const Element* gate_up, Element* activation) {
  at::parallel_for(0, rows, grain(width), [&](std::int64_t begin, std::int64_t end) {
    swiglu_rows(begin, end, width, gate_up, activation);
  });
}

template <class Element>
void swiglu_backward(std::int64_t rows, std::int64_t width, const Element* gradient, const Element* gate_up,
                     Element* activation, Element* gate_up_gradient) {
  at::parallel_for(0, rows, grain(width), [&](std::int64_t begin, std::int64_t end) {
    swiglu_backward_rows(begin, end, width, gradient, gate_up, activation, gate_up_gradient);
  });
}

double cross_entropy(std::int64_t rows, std::int64_t vocabulary, float* logits, const std::int64_t* targets,
                     float gradient_scale) {
  std::vector<double> losses(static_cast<std::size_t>(rows));
  at::parallel_for(0, rows, grain(vocabulary), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row)
      losses[static_cast<std::size_t>(row)] =
          cross_entropy_row(vocabulary, logits + row * vocabulary, targets[row], gradient_scale);
  });
  double sum = 0;
  for (const double loss : losses) sum += loss;
  return sum;
}

double sum_of_squares(std::int64_t count, const float* values) {
  constexpr std::int64_t part_size = 1 << 16;
  const std::int64_t parts = (count + part_size - 1) / part_size;
  std::vector<double> sums(static_cast<std::size_t>(parts));
  at::parallel_for(0, parts, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t part = begin; part < end; ++part) {
      const std::int64_t first = part * part_size;
      sums[static_cast<std::size_t>(part)] = squares_of(std::min(part_size, count - first), values + first);
    }
  });
  double sum = 0;
  for (const double part : sums) sum += part;
  return sum;
}

#define SIDESTEP_INSTANTIATE(Element)                                                                        \
  template void rms_norm(std::int64_t, std::int64_t, const Element*, const float*, float, Element*, float*); \
  template void rms_norm_backward(std::int64_t, std::int64_t, const Element*, const Element*, const float*,  \
                                  const float*, const Element*, Element*, float*);                           \
  template void rotate(const Heads&, Element*, const float*, const float*, bool);                            \
  template void swiglu(std::int64_t, std::int64_t, const Element*, Element*);                                \
  template void swiglu_backward(std::int64_t, std::int64_t, const Element*, const Element*, Element*,        \
                                Element*);

SIDESTEP_INSTANTIATE(float)
SIDESTEP_INSTANTIATE(std::uint16_t)

}  // namespace sidestep::daemon::kernels_cpu
