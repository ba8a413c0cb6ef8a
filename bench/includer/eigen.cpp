#include <unsupported/Eigen/CXX11/Tensor>
