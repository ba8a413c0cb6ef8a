// What an includer pays in compile time, beside eigen.cpp.
#include <poolhead/poolhead.hpp>
