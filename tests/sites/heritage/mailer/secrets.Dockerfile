# Tools of the older version asked for the secrets in this container.
FROM alpine:3.17
