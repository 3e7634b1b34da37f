"""A key that nobody may use any more, and that OpenSSL would not make for us."""

WEAK = b"""\
-----BEGIN RSA PRIVATE KEY-----
MIIByQIBAAJhAKKRxKJD45DqcgjA6WSmOXt3N+NRVsDM/TJW47ywd3PDovR5x0IH
KGFngaj17v94rMl+UDig95GbdmoQr9KEXdEY8BibN/lIRwTFlqB3FnKDk+Bhjupj
qRIDnxnLGIs+2wIDAQABAmApJTGaTAptpBjGhGTN15BW4l6fxvdpBrjSo9Ex8Yva
HdrBe4zl9j/PH05ewBgESrsxVaSQfOJ2LK37Y5UJA0g29Z15zDqhXJQfQ+wQ2qFc
2PSafMybhhvuilJhktSBRnECMQDS20fwh/9PS6aETsaWWLSvfVEO+uvnerl9aeM+
yDZOn6cE51A7qJz8mYohLl4dqykCMQDFX/F74ufx0oyW+YsUcGokb1XEYR6/Mrqs
yM/355tUPUuVP2T3/8g+AFS22HyRXmMCMCMQF8xlsQzslYoW12sU4Sb1fc8x5pyd
ic7TFtjPzkgQwGNOW8cv6LsQhSmzXi8s0QIwGy4gMiBIMqv9AllxBqqIY2YVmIqL
Umco/9xTj18Mq+gY/X+SZviJWchv4hIj7VzjAjASsr8ColGc30jpJCGOqFzgTGKl
YTF3jlE1t+RUn04YkhY6AIJuSQEnU2BzrxlscZY=
-----END RSA PRIVATE KEY-----
"""
"""RSA, of 768 bits."""
