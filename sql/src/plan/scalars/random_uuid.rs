//! `gen_random_uuid()`, also called `uuid()`: a UUID, where DataFusion's is its text.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::execution::FunctionRegistry;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::{ColumnarValue, Documentation, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature};
use weir_engine::format::uuid::UUID;

use crate::plan::checked;

/// The function, in the place of DataFusion's.
pub fn function(state: &SessionState) -> Result<Arc<ScalarUDF>> {
    let plain = state.udf("uuid")?;
    let aliases = vec!["gen_random_uuid".to_string()];
    Ok(Arc::new(ScalarUDF::from(RandomUuid { plain, aliases })))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct RandomUuid {
    plain: Arc<ScalarUDF>,
    aliases: Vec<String>,
}

impl ScalarUDFImpl for RandomUuid {
    fn name(&self) -> &str {
        self.plain.name()
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        self.plain.signature()
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(UUID)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.plain.documentation()
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = args.number_rows;
        let texts = self.plain.invoke_with_args(args)?.into_array(rows)?;
        Ok(ColumnarValue::Array(checked::column_as(&texts, &UUID)?))
    }
}
