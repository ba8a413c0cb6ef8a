#include <poolhead/poolhead.hpp>

#include <iostream>

int main() {
  Eigen::Tensor<float, 4, Eigen::RowMajor> x(1, 1, 2, 2);
  x.setValues({{{{1, 2}, {3, 6}}}});
  std::cout << "average " << poolhead::GlobalAveragePool{}(poolhead::nchw(x)) << ", maximum "
            << poolhead::GlobalMaxPool{}(poolhead::nchw(x)) << '\n';
}
