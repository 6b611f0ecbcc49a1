from setuptools import find_packages, setup

import pkg_resources  # gone from setuptools 82

setup(
    name="heritage_worker",
    version=str(pkg_resources.parse_version("0.3.1")),
    package_dir={"": "src"},
    packages=find_packages("src"),
    entry_points={"console_scripts": ["heritage-worker=heritage_worker.main:main"]},
    zip_safe=False,
)
