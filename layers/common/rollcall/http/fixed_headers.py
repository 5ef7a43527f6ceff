"""Headers whose values are the same for every answer that has them. Loads no web framework."""

SECURITY_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Strict-Transport-Security": "max-age=31536000",
    "X-Content-Type-Options": "nosniff",
}
# For what never changes under its address, such as one that has the content's hash.
FOR_A_YEAR = "public, max-age=31536000, immutable"
