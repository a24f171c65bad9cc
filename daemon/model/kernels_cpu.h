// The kernels of kernels.h for the CPU, on plain memory: each one pass, compiled for several instruction
// sets of which the loader picks one. Element is float or std::uint16_t, which holds a bfloat16.
// All arrays are row-major; none may overlap unless said so. Rows are shared out over ATen's threads.
#pragma once

#include <cstdint>

namespace sidestep::daemon::kernels_cpu {

template <class Element>
void rms_norm(std::int64_t rows, std::int64_t width, const Element* x, const float* weight, float eps,
              Element* output, float* inverse_rms);

// `residual` and `weight_gradient` may be null.
template <class Element>
void rms_norm_backward(std::int64_t rows, std::int64_t width, const Element* gradient, const Element* x,
                       const float* inverse_rms, const float* weight, const Element* residual,
                       Element* x_gradient, float* weight_gradient);

struct Heads {
  std::int64_t batch, positions, count, head_dim;
  std::int64_t batch_stride, position_stride;  // elements; heads of a position lie side by side
};

// In place. cosine, sine: [positions, head_dim / 2].
template <class Element>
void rotate(const Heads& shape, Element* heads, const float* cosine, const float* sine, bool inverse);

// gate_up: [rows, 2 * width]; activation: [rows, width].
template <class Element>
void swiglu(std::int64_t rows, std::int64_t width, const Element* gate_up, Element* activation);

template <class Element>
void swiglu_backward(std::int64_t rows, std::int64_t width, const Element* gradient, const Element* gate_up,
                     Element* activation, Element* gate_up_gradient);

// In place if gradient_scale is not 0. Returns the sum of the rows' losses, added in row order.
double cross_entropy(std::int64_t rows, std::int64_t vocabulary, float* logits, const std::int64_t* targets,
                     float gradient_scale);

double sum_of_squares(std::int64_t count, const float* values);

}  // namespace sidestep::daemon::kernels_cpu
