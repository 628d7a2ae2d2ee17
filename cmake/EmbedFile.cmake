# cmake -DIN=file -DOUT=file.c -DNAME=name -P EmbedFile.cmake
# Writes a C file with the bytes of IN: `const unsigned char NAME[]` and `const unsigned long NAME_len`.
file(READ ${IN} hex HEX)
string(LENGTH "${hex}" digits)
math(EXPR len "${digits} / 2")
string(REGEX REPLACE "(................................)" "\\1\n" hex "${hex}")
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${hex}")
file(WRITE ${OUT} "extern const unsigned char ${NAME}[];\nextern const unsigned long ${NAME}_len;\n"
  "const unsigned long ${NAME}_len = ${len};\nconst unsigned char ${NAME}[] = {\n${bytes}\n0};\n")
