// What an error says.
#pragma once

#include <string>

namespace poolhead::test {

/// The message of the Error that call throws.
template <class Error, class Call>
std::string message_of(Call call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  return "nothing was thrown";
}

}  // namespace poolhead::test
