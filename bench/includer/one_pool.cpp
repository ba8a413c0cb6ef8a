// What one pool adds to a program, beside empty.cpp.
#include <poolhead/poolhead.hpp>

int main(int argc, char** argv) {
  Eigen::Tensor<float, 4, Eigen::RowMajor> x(argc, 16, 7, 7);
  x.setConstant(static_cast<float>(argv[0][0]));
  return static_cast<int>(poolhead::GlobalAveragePool{}(poolhead::nchw(x))(0, 0));
}
