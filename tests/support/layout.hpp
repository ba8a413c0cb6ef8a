// Typed tests over scalar x layout. The index arithmetic is the tests' own: views are checked against it.
#pragma once

#include <poolhead/core/view.hpp>

#include <array>
#include <ostream>

namespace poolhead::test {

/// The extents of a feature map in logical order, whatever its layout.
struct Extents {
  Index n, c, h, w;

  Index positions() const { return h * w; }
  Index size() const { return n * c * h * w; }
};

inline std::ostream& operator<<(std::ostream& out, const Extents& e) {
  return out << "n " << e.n << ", c " << e.c << ", h " << e.h << ", w " << e.w;
}

/// One case of a typed test: TEMPLATE_PRODUCT_TEST_CASE(name, tags, (Nchw, Nhwc), (float, double, ...)).
template <class T>
struct Nchw {
  using Scalar = T;
  using Layout = ChannelsFirst;

  static Index offset(const Extents& e, Index n, Index c, Index s) { return (n * e.c + c) * e.positions() + s; }
  static std::array<Index, 4> dimensions(const Extents& e) { return {e.n, e.c, e.h, e.w}; }
  template <class Element>
  static auto view(Element* data, const Extents& e) {
    return nchw(data, e.n, e.c, e.h, e.w);
  }
  template <class Tensor>
  static auto view(Tensor& tensor) {
    return nchw(tensor);
  }
};

template <class T>
struct Nhwc {
  using Scalar = T;
  using Layout = ChannelsLast;

  static Index offset(const Extents& e, Index n, Index c, Index s) { return (n * e.positions() + s) * e.c + c; }
  static std::array<Index, 4> dimensions(const Extents& e) { return {e.n, e.h, e.w, e.c}; }
  template <class Element>
  static auto view(Element* data, const Extents& e) {
    return nhwc(data, e.n, e.h, e.w, e.c);
  }
  template <class Tensor>
  static auto view(Tensor& tensor) {
    return nhwc(tensor);
  }
};

}  // namespace poolhead::test
