# attn for CMake: `find_package(attn)` with attn_DIR at this folder, or add_subdirectory of the one above.
#
# Gives the target attn::attn (header and library) and attn_add_model. Variables that may be set before:
#   ATTN_LIBRARY   a library that is already built (libattn.a); without it, cargo builds one from the source around this file
#   ATTN_TARGET    Rust's name of the chip's target; without it, guessed from -mcpu and -mfloat-abi in CMAKE_C_FLAGS
#   ATTN_BUILD     folder that cargo builds in, in CMake's build folder where it is not set
#   ATTN_FEATURES  a list of `fp16` (half precision) and `signed` (signed files)
if(TARGET attn::attn)
  return()
endif()
get_filename_component(ATTN_FOLDER "${CMAKE_CURRENT_LIST_DIR}/.." ABSOLUTE)

# Rust's name of the target that CMake builds for; empty for this computer.
function(attn_guess_target out)
  if(NOT CMAKE_CROSSCOMPILING)
    set(${out} "" PARENT_SCOPE)
    return()
  endif()
  set(flags "${CMAKE_C_FLAGS}")
  set(hard "")
  if(flags MATCHES "-mfloat-abi=hard")
    set(hard "hf")
  endif()
  if(flags MATCHES "-mcpu=cortex-m(0|0plus|1)( |$)")
    set(target "thumbv6m-none-eabi")
  elseif(flags MATCHES "-mcpu=cortex-m3( |$)")
    set(target "thumbv7m-none-eabi")
  elseif(flags MATCHES "-mcpu=cortex-m[47]")
    set(target "thumbv7em-none-eabi${hard}")
  elseif(flags MATCHES "-mcpu=cortex-m(33|35p|55|85)")
    set(target "thumbv8m.main-none-eabi${hard}")
  else()
    message(FATAL_ERROR "attn: no chip that it knows in CMAKE_C_FLAGS (-mcpu=cortex-m...): set ATTN_TARGET to Rust's name of the target")
  endif()
  set(${out} "${target}" PARENT_SCOPE)
endfunction()

add_library(attn_interface INTERFACE)
add_library(attn::attn ALIAS attn_interface)
target_include_directories(attn_interface INTERFACE "${ATTN_FOLDER}/include")
set_property(GLOBAL PROPERTY ATTN_CMAKE_FOLDER "${CMAKE_CURRENT_LIST_DIR}")
if("signed" IN_LIST ATTN_FEATURES)
  target_compile_definitions(attn_interface INTERFACE ATTN_SIGNED)
endif()

if(NOT DEFINED ATTN_TARGET)
  attn_guess_target(ATTN_TARGET)
endif()
# A package of `cargo xtask pack` has libraries that are built already.
if(NOT ATTN_LIBRARY AND ATTN_TARGET AND EXISTS "${ATTN_FOLDER}/lib/${ATTN_TARGET}/libattn.a")
  set(ATTN_LIBRARY "${ATTN_FOLDER}/lib/${ATTN_TARGET}/libattn.a")
endif()
if(NOT ATTN_LIBRARY)
  find_program(ATTN_CARGO cargo HINTS "$ENV{HOME}/.cargo/bin")
  if(NOT ATTN_CARGO)
    message(FATAL_ERROR "attn: there is no cargo to build the library with: install it from https://rustup.rs, or set ATTN_LIBRARY to a libattn.a")
  endif()
  if(NOT ATTN_BUILD)
    set(ATTN_BUILD "${CMAKE_BINARY_DIR}/attn")
  endif()
  set(attn_cargo ${ATTN_CARGO} build --quiet --package attn-c --lib --target-dir ${ATTN_BUILD})
  if(ATTN_TARGET)
    list(APPEND attn_cargo --profile firmware --target ${ATTN_TARGET})
    set(ATTN_LIBRARY "${ATTN_BUILD}/${ATTN_TARGET}/firmware/libattn.a")
  else()
    list(APPEND attn_cargo --release)
    set(ATTN_LIBRARY "${ATTN_BUILD}/release/libattn.a")
  endif()
  if(ATTN_FEATURES)
    list(JOIN ATTN_FEATURES "," attn_features)
    list(APPEND attn_cargo --features ${attn_features})
  endif()
  # The operators of the models that attn_add_model adds are linked, and no other; without a model, all.
  set(attn_separator ":")
  if(CMAKE_HOST_WIN32)
    set(attn_separator ";")
  endif()
  add_custom_target(attn_library
    COMMAND ${CMAKE_COMMAND} -E env "ATTN_MODELS=$<JOIN:$<TARGET_PROPERTY:attn_library,ATTN_MODELS>,${attn_separator}>" ${attn_cargo}
    WORKING_DIRECTORY "${ATTN_FOLDER}"
    BYPRODUCTS "${ATTN_LIBRARY}"
    COMMENT "attn: building the library with cargo"
    VERBATIM)
  add_dependencies(attn_interface attn_library)
endif()
target_link_libraries(attn_interface INTERFACE "${ATTN_LIBRARY}")
if(NOT CMAKE_CROSSCOMPILING AND UNIX)
  # What Rust's standard library needs on a computer.
  target_link_libraries(attn_interface INTERFACE pthread m ${CMAKE_DL_LIBS})
endif()

# Compiles the model `file` into `target`, which gets the header "NAME.h": the bytes NAME, and NAME_LEN and NAME_ARENA_LEN in capitals.
function(attn_add_model target name file)
  get_property(script GLOBAL PROPERTY ATTN_CMAKE_FOLDER)
  set(script "${script}/attn-model.cmake")
  get_filename_component(file "${file}" ABSOLUTE)
  set(folder "${CMAKE_CURRENT_BINARY_DIR}/attn-models")
  add_custom_command(
    OUTPUT "${folder}/${name}.c" "${folder}/${name}.h"
    COMMAND ${CMAKE_COMMAND} "-DFILE=${file}" "-DNAME=${name}" "-DFOLDER=${folder}" -P "${script}"
    DEPENDS "${file}" "${script}"
    VERBATIM)
  target_sources(${target} PRIVATE "${folder}/${name}.c" "${folder}/${name}.h")
  target_include_directories(${target} PRIVATE "${folder}")
  if(TARGET attn_library)
    set_property(TARGET attn_library APPEND PROPERTY ATTN_MODELS "${file}")
  endif()
endfunction()
