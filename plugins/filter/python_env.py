"""The filters of the role python_env; each is documented in a file of its name."""

from controller.requirements_file import differences, parts, plan, staging


class FilterModule:
    def filters(self) -> dict[str, object]:
        return {
            "python_env_plan": plan,
            "python_env_parts": parts,
            "python_env_staging": staging,
            "python_env_differences": differences,
        }
