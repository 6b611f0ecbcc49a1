from setuptools import find_packages, setup

import pkg_resources  # gone from setuptools 82

setup(
    name="heritage_mailer",
    version=str(pkg_resources.parse_version("0.3.1")),
    package_dir={"": "src"},
    packages=find_packages("src"),
    zip_safe=False,
)
